"""Where pictures come from: places that can be kept, put into a link, and read from one."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from dnl.datasets import CamVid, DatasetError, Streets

# The sources of pictures, as the user chooses them.
STREETS, UPLOAD, CAMVID_FOLDER = "Built-in streets", "Your photo", "CamVid"
CAMVID_SPLITS = ("val", "train")
# Images of a session whose pins lead back to them.
MOST_SEEN = 100


@dataclass(frozen=True)
class StreetPlace:
    """A built-in street, by its number from 0."""

    scene: int


@dataclass(frozen=True)
class CamVidPlace:
    """An image of the folder in $DNL_DATA, by its number from 0 among the files of its split."""

    split: str
    file: int


@dataclass(frozen=True)
class UploadPlace:
    """A photo of the user's, with its labels or without: (name, content) each.

    coding: the key of the labels' coding, None where it is to be recognised.
    """

    photo: tuple[str, bytes]
    labels: tuple[str, bytes] | None = None
    coding: str | None = None


@dataclass(frozen=True)
class SeenUpload:
    """A photo of the user's that was looked at: its name alone."""

    photo: str


Place = StreetPlace | CamVidPlace | UploadPlace
SeenPlace = StreetPlace | CamVidPlace | SeenUpload


def street_name(scene: int) -> str:
    """What a built-in street is called, by its number from 0."""
    return f"Street {scene + 1}"


def camvid_name(place: CamVidPlace) -> str | None:
    """The file of a CamVid image, without its ending; None where it is no longer there."""
    try:
        names = CamVid(os.environ["DNL_DATA"], place.split).names
    except DatasetError:
        return None  # the page says what is wrong with the folder where someone chooses from it
    return names[place.file] if place.file < len(names) else None


# --- what was seen ---------------------------------------------------------------------------------------------------


def remember_place(image: str, place: Place) -> None:
    """Note where an image comes from, so that its pins lead back to it. image: its `analysis.lens.image_id`."""
    seen = st.session_state.setdefault("pictures seen", {})
    seen.pop(image, None)
    seen[image] = SeenUpload(place.photo[0]) if isinstance(place, UploadPlace) else place
    for oldest in list(seen)[:-MOST_SEEN]:
        del seen[oldest]


def seen_places() -> Mapping[str, SeenPlace]:
    """Where the session's last MOST_SEEN images come from: image id -> place."""
    return st.session_state.get("pictures seen", {})


# --- links -----------------------------------------------------------------------------------------------------------


def image_words(place: Place | None) -> str | None:
    """What a link calls the image of a place; None for a user's own, one that is gone, and one from nowhere."""
    if isinstance(place, StreetPlace):
        return f"street-{place.scene + 1}"
    if isinstance(place, CamVidPlace):
        name = camvid_name(place)
        return None if name is None else f"camvid-{place.split}-{name}"
    return None


def image_place(text: str) -> StreetPlace | CamVidPlace | None:
    """The place of what a link calls an image; None where there is none of that name."""
    if match := re.fullmatch(r"street-(\d{1,4})", text, re.ASCII):
        scene = int(match[1]) - 1
        return StreetPlace(scene) if 0 <= scene < len(Streets("gallery")) else None
    match = re.fullmatch(rf"camvid-({'|'.join(CAMVID_SPLITS)})-(.+)", text)
    if not match or not os.environ.get("DNL_DATA"):
        return None
    try:
        names = CamVid(os.environ["DNL_DATA"], match[1]).names
    except DatasetError:
        return None  # the page says what is wrong with the folder where someone chooses from it
    return CamVidPlace(match[1], names.index(match[2])) if match[2] in names else None
