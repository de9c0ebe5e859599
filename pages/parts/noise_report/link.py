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
from pages.parts.noise_report import entries
from pages.parts.noise_report.choices import (
    GATE_CHOICES,
    LABEL_CHOICES,
    ONE,
    PAINTED,
    RETENTION_CHOICES,
    SEVERAL,
)
from pages.parts.subjects.pictures import show_place
from pages.parts.subjects.places import (
    CAMVID_FOLDER,
    STREETS,
    CamVidPlace,
    Place,
    StreetPlace,
    image_place,
    image_words,
)

MOST_NAMES = 1000  # in a list of an address
NO_STAGE = "none"
EVERY_STAGE = (*STAGES, *CONTROLS)
# Parameter -> the session's entry, what it may be, and what it is on a fresh page (None: what the report has).
CHOICES: dict[str, tuple[str, Sequence[str], str | None]] = {
    "labels": (entries.LABELS, tuple(LABEL_CHOICES), "truth"),
    "gate": (entries.GATE, tuple(name for name in GATE_CHOICES if name), None),
    "retention": (entries.RETENTION, tuple(name for name in RETENTION_CHOICES if name), None),
    "class-metric": (entries.CLASS_METRIC, tuple(METRIC_WORDS), "interclass_noise"),
    "leakage-stage": (entries.LEAKAGE_STAGE, EVERY_STAGE, "raw"),
    "split-metric": (entries.SPLIT_METRIC, tuple(METRIC_WORDS), "interclass_noise"),
    "map-stage": (entries.MAP_STAGE, STAGES, "raw"),
    "map-metric": (entries.MAP_METRIC, PAINTED, "interclass_noise"),
}


def view_parameters(models: Sequence[str], places: Sequence[Place]) -> dict[str, str]:
    """The parameters of what the session shows. models, places: what is chosen."""
    parameters = {"models": _joined(models)}
    images = [image_words(place) for place in places]
    if images and None not in images:
        several = st.session_state.get(entries.COUNT) == SEVERAL
        parameters["images" if several else "image"] = _joined(images)
    detail = st.session_state.get(entries.DETAIL)
    if detail in models[1:]:
        parameters["detail"] = quote(detail, safe="")
    for name, (entry, _, fresh) in CHOICES.items():
        if st.session_state.get(entry, fresh) != fresh:
            parameters[name] = st.session_state[entry]
    stages = st.session_state.get(entries.SHOWN_STAGES, STAGES)
    if tuple(stages) != tuple(STAGES):
        parameters["stages"] = _joined(stages) or NO_STAGE
    return {name: value for name, value in parameters.items() if value}


def follow(parameters: Mapping[str, str]) -> list[str]:
    """Set what the page shows to what a link asks for, before its widgets are there.

    Returns the parts of the link that cannot be used.
    """
    values: dict = {entry: fresh for entry, _, fresh in CHOICES.values()}
    values |= {entries.SHOWN_STAGES: list(STAGES), entries.DETAIL: None}
    ignored = []
    for name, text in parameters.items():
        found = _READERS[name](text) if name in _READERS else None
        if found is None:
            ignored.append(f"{name}={text}")
        else:
            values |= found
    for entry, value in values.items():
        if value is None:
            st.session_state.pop(entry, None)
        else:
            st.session_state[entry] = value
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
    return {entries.SHOWN_STAGES: []} if text == NO_STAGE else _all_of(entries.SHOWN_STAGES, lambda: EVERY_STAGE)(text)


def _detail(text: str) -> dict | None:
    name = unquote(text)
    return {entries.DETAIL: name} if name in list_checkpoints() else None


def _one_of(entry: str, known: Sequence[str]) -> Callable[[str], dict | None]:
    return lambda text: {entry: text} if text in known else None


def _image(text: str) -> dict | None:
    """One image, which is shown from now on."""
    place = image_place(unquote(text))
    if place is None:
        return None
    show_place(place)
    return {entries.COUNT: ONE}


def _images(text: str) -> dict | None:
    """The images of one kind, and one split; as soon as one cannot be had, none."""
    places = [image_place(name) for name in _names(text)]
    scenes = [place.scene for place in places if isinstance(place, StreetPlace)]
    if len(scenes) == len(places):
        return {entries.COUNT: SEVERAL, entries.SOURCE: STREETS, entries.SCENES: scenes}
    files = [place for place in places if isinstance(place, CamVidPlace)]
    if len(files) < len(places) or len({place.split for place in files}) != 1:
        return None
    split = files[0].split
    chosen = {entries.SPLIT: split, entries.files_of(split): [place.file for place in files]}
    return {entries.COUNT: SEVERAL, entries.SOURCE: CAMVID_FOLDER, **chosen}


_READERS: dict[str, Callable[[str], dict | None]] = {
    "image": _image,
    "images": _images,
    "models": _all_of(entries.MODELS, list_checkpoints),
    "detail": _detail,
    "stages": _stages,
    **{name: _one_of(entry, known) for name, (entry, known, _) in CHOICES.items()},
}
