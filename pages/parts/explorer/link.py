"""The Explorer's view as the parameters of its address, and back.

image        street-5, or camvid-val-NAME. A user's own file cannot be in a link
model, with  names of checkpoints; `with` is the second one
pins         y.x of each pixel, joined by _
and the lens's choices and look under their own names
"""

import os
import re
from collections.abc import Mapping

import streamlit as st

from analysis.lens import FIRST_LOOK, LOOKS, PIN_LIMIT, known_choices, known_look
from dnl import list_checkpoints
from dnl.datasets import CamVid, DatasetError, Streets
from pages.parts.subjects.pictures import CAMVID_FOLDER, CAMVID_SPLITS, STREETS, camvid_name, opened_models

CHOICES = ("gate", "retention", "kernel", "temperature")
LOOK_NAMES = tuple(LOOKS)


def view_parameters(
    place: Mapping, model: str | None, other: str | None, pixels: list[tuple[int, int]], choices, look
) -> dict[str, str]:
    """The parameters of a view. place: as in `Picture.place`, {} for a file. pixels: the pins of this image."""
    image = image_words(place)
    parameters = {"image": image, "model": model, "with": other}
    if image is not None:  # pins mean nothing on another image
        parameters["pins"] = "_".join(f"{y}.{x}" for y, x in pixels)
    changed = {name: value for name, value in known_look(look).items() if value != FIRST_LOOK[name]}
    parameters |= {name: _text(value) for name, value in (known_choices(choices) | changed).items()}
    return {name: value for name, value in parameters.items() if value}


def follow(parameters: Mapping[str, str]) -> list[str]:
    """Set what the Explorer shows to what a link asks for, before its widgets are there.

    The session gets the entries of the widgets, of the lens's choices and look, and "link pins" for the image that
    will be shown. Returns the parts of the link that cannot be used.
    """
    ignored = [f"{name}={value}" for name, value in parameters.items() if name not in _KNOWN]
    entries: dict = {"lens choices": dict.fromkeys(CHOICES), "lens look": FIRST_LOOK, "compared with": None}
    for name, read in _READERS.items():
        if name in parameters:
            lost = name == "pins" and "image" in parameters and "source" not in entries  # pins of an unknown image
            found = None if lost else read(parameters[name])
            if found is None:
                ignored.append(f"{name}={parameters[name]}")
            else:
                entries |= found
    if "source" in entries:
        entries.setdefault("link pins", [])  # a link that names an image names all of its pins
    for names, key, known in ((CHOICES, "lens choices", known_choices), (LOOK_NAMES, "lens look", known_look)):
        asked = {name: parameters[name] for name in names if name in parameters}
        found = {name: value for name, text in asked.items() for value in _readings(text) if known({name: value})}
        ignored += [f"{name}={text}" for name, text in asked.items() if name not in found]
        entries[key] = {**entries[key], **found}
    for name, value in entries.items():
        st.session_state[name] = value
    return ignored


def read_pins(text: str) -> list[tuple[int, int]] | None:
    """The pixels of a link; None where they are not written as they should be."""
    if not re.fullmatch(r"\d{1,5}\.\d{1,5}(_\d{1,5}\.\d{1,5})*", text, re.ASCII):
        return None
    pixels = [tuple(map(int, pixel.split("."))) for pixel in text.split("_")]
    pixels = list(dict.fromkeys(pixels))
    return pixels if len(pixels) <= PIN_LIMIT else None


# --- parts -----------------------------------------------------------------------------------------------------------


def image_words(place: Mapping) -> str | None:
    """What a link calls the image of a `Picture.place`; None for a user's own, and one that is gone."""
    if place.get("source") == STREETS:
        return f"street-{place['scene'] + 1}"
    if place.get("source") == CAMVID_FOLDER:
        name = camvid_name(place)
        return None if name is None else f"camvid-{place['split']}-{name}"
    return None


def image_place(text: str) -> dict | None:
    """The `Picture.place` of what a link calls an image; None where there is none of that name."""
    if match := re.fullmatch(r"street-(\d{1,4})", text, re.ASCII):
        scene = int(match[1]) - 1
        return {"source": STREETS, "scene": scene} if 0 <= scene < len(Streets("gallery")) else None
    match = re.fullmatch(rf"camvid-({'|'.join(CAMVID_SPLITS)})-(.+)", text)
    if not match or not os.environ.get("DNL_DATA"):
        return None
    try:
        names = CamVid(os.environ["DNL_DATA"], match[1]).names
    except DatasetError:
        return None  # the page says what is wrong with the folder where someone chooses from it
    if match[2] not in names:
        return None
    return {"source": CAMVID_FOLDER, "split": match[1], "file": names.index(match[2])}


def _read_model(key: str):
    def read(text: str) -> dict | None:
        return {key: text} if text in list_checkpoints() or text in opened_models() else None

    return read


def _read_pins(text: str) -> dict | None:
    pixels = read_pins(text)
    return None if pixels is None else {"link pins": pixels}


_READERS = {
    "image": image_place,
    "model": _read_model("model"),
    "with": _read_model("compared with"),
    "pins": _read_pins,
}
_KNOWN = {*_READERS, *CHOICES, *LOOK_NAMES}


def _text(value) -> str:
    return str(int(value)) if isinstance(value, bool) else value if isinstance(value, str) else f"{value:g}"


def _readings(text: str):
    """What a text may mean: itself, a switch or a number."""
    yield text
    if text in ("0", "1"):
        yield text == "1"
    if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.ASCII):
        yield float(text)
