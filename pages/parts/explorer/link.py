"""The Explorer's view as the parameters of its address, and back.

image        street-5, or camvid-val-NAME. A user's own file cannot be in a link
model, with  names of checkpoints; `with` is the second one
pins         y.x of each pixel, joined by _
active       the number of the pin that is shown, from 1; the first if missing
present      alone, or 1: the presenter view
and the lens's choices and look under their own names
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import streamlit as st

from analysis.lens import FIRST_LOOK, LOOKS, PIN_LIMIT, known_choices, known_look
from dnl import list_checkpoints
from pages.parts.app.session import keep_lens_report
from pages.parts.explorer.presenting import present
from pages.parts.subjects.models import opened_models, show_model, show_other_model
from pages.parts.subjects.pictures import show_place
from pages.parts.subjects.places import Place, image_place, image_words

CHOICES = ("gate", "retention", "kernel", "temperature")
LOOK_NAMES = tuple(LOOKS)
# The session's entries of the pins that a link has and of the one that is shown, until its image is known.
_PINS, _ACTIVE = "link pins", "link active pin"


def view_parameters(
    place: Place | None,
    models: Sequence[str],
    pixels: list[tuple[int, int]],
    choices: Mapping | None,
    look: Mapping | None,
    active: int = 0,
) -> dict[str, str]:
    """The parameters of a view.

    place: where the image comes from; None for a file. models: the names of at most two. pixels: the pins of this
    image, and active the one that is shown, from 0. choices, look: as the lens has reported them.
    """
    image = image_words(place)
    parameters = {"image": image, **dict(zip(("model", "with"), models, strict=False))}
    if image is not None:  # pins mean nothing on another image
        parameters["pins"] = "_".join(f"{y}.{x}" for y, x in pixels)
        parameters["active"] = str(active + 1) if active and pixels else ""
    changed = {name: value for name, value in known_look(look).items() if value != FIRST_LOOK[name]}
    parameters |= {name: _text(value) for name, value in (known_choices(choices) | changed).items()}
    return {name: value for name, value in parameters.items() if value}


def follow(parameters: Mapping[str, str]) -> list[str]:
    """Have the Explorer show what a link asks for, before its widgets are there; its pins wait for `link_pins`.

    Returns the parts of the link that cannot be used.
    """
    ignored = [f"{name}={value}" for name, value in parameters.items() if name not in _KNOWN]
    found = {name: read(parameters[name]) for name, read in _READERS.items() if name in parameters}
    if "image" in found and found["image"] is None and "pins" in found:
        found["pins"] = None  # pins of an unknown image
    ignored += [f"{name}={parameters[name]}" for name, value in found.items() if value is None]
    place, pixels = found.get("image"), found.get("pins")
    if place is not None:
        show_place(place)
        pixels = pixels or []  # a link that names an image names all of its pins
    if pixels is not None:
        st.session_state[_PINS] = pixels
        st.session_state[_ACTIVE] = (found.get("active") or 1) - 1
    if found.get("model") is not None:
        show_model(found["model"])
    show_other_model(found.get("with"))
    present(on=bool(found.get("present")))
    first_choices = dict.fromkeys(CHOICES)
    for entry, first, known in (("choices", first_choices, known_choices), ("look", FIRST_LOOK, known_look)):
        asked = {name: parameters[name] for name in first if name in parameters}
        read = {name: value for name, text in asked.items() for value in _readings(text) if known({name: value})}
        ignored += [f"{name}={text}" for name, text in asked.items() if name not in read]
        keep_lens_report(entry, {**first, **read})
    return ignored


def link_pins() -> tuple[list[tuple[int, int]] | None, int]:
    """The pixels of the link that was followed since the last call, and which of them is shown, from 0.

    None where there was no link, or it says nothing of them.
    """
    return st.session_state.pop(_PINS, None), st.session_state.pop(_ACTIVE, 0)


def read_pins(text: str) -> list[tuple[int, int]] | None:
    """The pixels of a link; None where they are not written as they should be."""
    if not re.fullmatch(r"\d{1,5}\.\d{1,5}(_\d{1,5}\.\d{1,5})*", text, re.ASCII):
        return None
    pixels = [tuple(map(int, pixel.split("."))) for pixel in text.split("_")]
    pixels = list(dict.fromkeys(pixels))
    return pixels if len(pixels) <= PIN_LIMIT else None


# --- parts -----------------------------------------------------------------------------------------------------------


def _read_model(text: str) -> str | None:
    return text if text in list_checkpoints() or text in opened_models() else None


def _read_active(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9]", text) and int(text) <= PIN_LIMIT else None


_READERS: dict[str, Callable[[str], Any]] = {
    "image": image_place,
    "model": _read_model,
    "with": _read_model,
    "pins": read_pins,
    "active": _read_active,
    "present": lambda text: True if text in ("", "1") else None,
}
_KNOWN = {*_READERS, *CHOICES, *LOOK_NAMES}


def _text(value: bool | str | float) -> str:
    return str(int(value)) if isinstance(value, bool) else value if isinstance(value, str) else f"{value:g}"


def _readings(text: str) -> Iterator[str | bool | float]:
    """What a text may mean: itself, a switch or a number."""
    yield text
    if text in ("0", "1"):
        yield text == "1"
    if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.ASCII):
        yield float(text)
