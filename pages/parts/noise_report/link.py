"""The Noise report's view as the parameters of its address, and back.

image, images        one image, or several of one kind: street-5, or camvid-val-NAME. A user's own cannot be in a link
models, detail       names of checkpoints; `detail` is the one that the sections below the comparison are about
labels, gate, retention
stages               names of stages and controls, or none
class-metric, leakage-stage, split-metric, map-stage, map-metric    what the sections show

Lists are joined by commas, and each of their names is quoted, since a file's name may hold a comma. What is as on a
fresh page is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, unquote

import streamlit as st

from analysis.options import CONTROLS, STAGES
from analysis.words import METRIC_WORDS
from dnl import list_checkpoints
from pages.parts.explorer.link import image_place, image_words
from pages.parts.noise_report.choices import GATES, LABELS, ONE, PAINTED, RETENTIONS, SEVERAL
from pages.parts.subjects.pictures import STREETS

MOST_NAMES = 1000  # in a list of an address
NO_STAGE = "none"
EVERY_STAGE = (*STAGES, *CONTROLS)
# Parameter -> the session's entry, what it may be, and what it is on a fresh page (None: what the report has).
CHOICES: dict[str, tuple[str, Sequence[str], str | None]] = {
    "labels": ("noise labels", tuple(LABELS), "truth"),
    "gate": ("noise gate", tuple(name for name in GATES if name), None),
    "retention": ("noise retention", tuple(name for name in RETENTIONS if name), None),
    "class-metric": ("noise class metric", tuple(METRIC_WORDS), "interclass_noise"),
    "leakage-stage": ("noise leakage stage", EVERY_STAGE, "raw"),
    "split-metric": ("noise split metric", tuple(METRIC_WORDS), "interclass_noise"),
    "map-stage": ("noise map stage", STAGES, "raw"),
    "map-metric": ("noise map metric", PAINTED, "interclass_noise"),
}


def view_parameters(models: Sequence[str], places: Sequence[Mapping]) -> dict[str, str]:
    """The parameters of what the session shows. models, places: what is chosen; places as in `Picture.place`."""
    parameters = {"models": _joined(models)}
    images = [image_words(place) for place in places]
    if images and None not in images:
        several = st.session_state.get("noise count") == SEVERAL
        parameters["images" if several else "image"] = _joined(images)
    detail = st.session_state.get("noise detail")
    if detail in models[1:]:
        parameters["detail"] = quote(detail, safe="")
    for name, (entry, _, fresh) in CHOICES.items():
        if st.session_state.get(entry, fresh) != fresh:
            parameters[name] = st.session_state[entry]
    stages = st.session_state.get("noise stages", STAGES)
    if tuple(stages) != tuple(STAGES):
        parameters["stages"] = _joined(stages) or NO_STAGE
    return {name: value for name, value in parameters.items() if value}


def follow(parameters: Mapping[str, str]) -> list[str]:
    """Set what the page shows to what a link asks for, before its widgets are there.

    Returns the parts of the link that cannot be used.
    """
    entries: dict = {entry: fresh for entry, _, fresh in CHOICES.values()}
    entries |= {"noise stages": list(STAGES), "noise detail": None}
    ignored = []
    for name, text in parameters.items():
        found = _READERS[name](text) if name in _READERS else None
        if found is None:
            ignored.append(f"{name}={text}")
        else:
            entries |= found
    for name, value in entries.items():
        if value is None:
            st.session_state.pop(name, None)
        else:
            st.session_state[name] = value
    return ignored


# --- parts -----------------------------------------------------------------------------------------------------------


def _joined(names: Sequence[str]) -> str:
    return ",".join(quote(name, safe="") for name in names)


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(unquote(name) for name in text.split(",")[:MOST_NAMES]))


def _all_of(entry: str, known: Callable[[], Sequence[str]]) -> Callable[[str], dict | None]:
    def read(text: str) -> dict | None:
        names = _names(text)
        return {entry: names} if set(names) <= set(known()) else None

    return read


def _stages(text: str) -> dict | None:
    return {"noise stages": []} if text == NO_STAGE else _all_of("noise stages", lambda: EVERY_STAGE)(text)


def _detail(text: str) -> dict | None:
    name = unquote(text)
    return {"noise detail": name} if name in list_checkpoints() else None


def _one_of(entry: str, known: Sequence[str]) -> Callable[[str], dict | None]:
    return lambda text: {entry: text} if text in known else None


def _image(text: str) -> dict | None:
    place = image_place(unquote(text))
    return None if place is None else {"noise count": ONE, **place}


def _images(text: str) -> dict | None:
    """The images of one kind, and one split; as soon as one cannot be had, none."""
    places = [image_place(name) for name in _names(text)]
    if None in places or len({(place["source"], place.get("split")) for place in places}) != 1:
        return None
    first = places[0]
    entries = {"noise count": SEVERAL, "noise source": first["source"]}
    if first["source"] == STREETS:
        return entries | {"noise scenes": [place["scene"] for place in places]}
    return entries | {
        "noise split": first["split"],
        f"noise files {first['split']}": [place["file"] for place in places],
    }


_READERS: dict[str, Callable[[str], dict | None]] = {
    "image": _image,
    "images": _images,
    "models": _all_of("noise models", list_checkpoints),
    "detail": _detail,
    "stages": _stages,
    **{name: _one_of(entry, known) for name, (entry, known, _) in CHOICES.items()},
}
