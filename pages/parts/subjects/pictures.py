"""Pictures: built-in streets, the user's own photo, images of CamVid; chosen in the sidebar, or read at their place."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis.files.photos import (
    CodingUploadError,
    LabelImage,
    UploadError,
    pair_notes,
    photo_notes,
    read_label_image,
    read_photo,
)
from dnl.classes import LabelSet
from dnl.codings import codings_of
from dnl.datasets import CamVid, DatasetError, Origin, Streets, camvid_labels
from pages.parts.app.uploaders import LABEL_TYPES, PHOTO_TYPES, PHOTO_WORDS, keep_file, kept_file, kept_upload
from pages.parts.app.words import as_clause, as_sentence, literal
from pages.parts.subjects.places import (
    CAMVID_FOLDER,
    CAMVID_SPLITS,
    STREETS,
    UPLOAD,
    CamVidPlace,
    Place,
    StreetPlace,
    UploadPlace,
    street_name,
)

# The session's entries of the widgets that choose a picture; the uploaders' files stay under their keys.
_SOURCE, _SCENE, _SPLIT, _FILE, _PHOTO, _LABELS = "source", "scene", "split", "file", "photo", "labels"


@dataclass(frozen=True)
class Picture:
    """An image to look at: `image` H×W×3 uint8, `labels` H×W or None; `private` when it is a user's own.

    place: where `picture_at` finds this very picture; None for nowhere. origin: the group that it shares with others.
    """

    image: np.ndarray
    labels: np.ndarray | None
    name: str
    private: bool = False
    place: Place | None = None
    origin: Origin = field(default_factory=Origin)

    def content_hash(self) -> str:
        """A key of what is to be seen: name, pixels and labels."""
        digest = hashlib.sha256(f"{self.name} {self.image.shape}".encode() + self.image.tobytes())
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        return digest.hexdigest()


@st.cache_data(max_entries=24, show_spinner="Painting a street …")
def _street(index: int):
    return Streets("gallery")[index]


def picture_at(place: Place, label_set: LabelSet) -> Picture:
    """The picture of a place. Raises UploadError and DatasetError where it can no longer be read."""
    if isinstance(place, StreetPlace):
        return street_picture(place.scene, label_set)
    if isinstance(place, CamVidPlace):
        return camvid_picture(place.split, place.file, label_set)
    image, original_size = read_photo(place.photo[1])
    labels = None
    if place.labels is not None:
        labels = read_label_image(place.labels[1], original_size, label_set, coding=place.coding).labels
    return Picture(image, labels, place.photo[0], private=True, place=place)


def street_picture(scene: int, label_set: LabelSet) -> Picture:
    """A built-in street, by its number from 0."""
    street = _street(scene)
    return Picture(street.image, camvid_labels(street, label_set), street_name(scene), place=StreetPlace(scene))


def camvid_picture(split: str, index: int, label_set: LabelSet) -> Picture:
    """An image of the folder in $DNL_DATA. Raises DatasetError where it cannot be read, or is no longer there."""
    data = CamVid(os.environ["DNL_DATA"], split)
    if index >= len(data):
        raise DatasetError(
            f"image {index + 1} of CamVid's {split} is gone: $DNL_DATA holds {len(data)} now; choose another"
        )
    sample = data[index]
    place = CamVidPlace(split, index)
    labels = camvid_labels(sample, label_set)
    return Picture(sample.image, labels, sample.name, place=place, origin=data.origins[index])


def camvid_splits(notices: DeltaGenerator) -> dict[str, CamVid]:
    """The splits in $DNL_DATA by name; says in `notices` what is wrong with the others."""
    splits = {}
    for split in CAMVID_SPLITS:
        try:
            splits[split] = CamVid(os.environ["DNL_DATA"], split)
        except DatasetError as error:
            notices.error(f"$DNL_DATA: {as_clause(error)}.")
    return splits


# --- choosing one ----------------------------------------------------------------------------------------------------


def choose_source(*more: str) -> str:
    """A selectbox of where the image comes from; `more` are sources that one page alone offers."""
    sources = [STREETS, UPLOAD, *([CAMVID_FOLDER] if os.environ.get("DNL_DATA") else []), *more]
    if st.session_state.get(_SOURCE, STREETS) not in sources:
        st.session_state[_SOURCE] = STREETS  # chosen on a page that offers more
    return st.selectbox("Image", sources, key=_SOURCE, persist_state="session")


def choose_picture(label_set: LabelSet, notices: DeltaGenerator, source: str | None = None) -> Picture:
    """Widgets to choose an image; says in `notices` what is wrong with one, and gives a street in its place.

    source: as it came from `choose_source`, which is called where there is none.
    """
    source = source or choose_source()
    try:
        if source == UPLOAD:
            return _choose_upload(label_set, notices) or street_picture(0, label_set)
        if source == CAMVID_FOLDER:
            return _choose_camvid(label_set, notices) or street_picture(0, label_set)
    except (UploadError, DatasetError) as error:
        notices.error(as_sentence(error))
        return street_picture(0, label_set)
    return street_picture(choose_street(), label_set)


def choose_street() -> int:
    """A selectbox of the built-in streets; the chosen one's number, from 0."""
    scenes = range(len(Streets("gallery")))
    return st.selectbox("Scene", scenes, format_func=street_name, key=_SCENE, persist_state="session")


def show_source(source: str) -> None:
    """Have `choose_source` give this one of its entries; before its widget is there."""
    st.session_state[_SOURCE] = source


def show_place(place: Place) -> None:
    """Have `choose_picture` show the picture of a place; before its widgets are there."""
    if isinstance(place, StreetPlace):
        st.session_state[_SOURCE], st.session_state[_SCENE] = STREETS, place.scene
    elif isinstance(place, CamVidPlace):
        st.session_state[_SOURCE] = CAMVID_FOLDER
        st.session_state[_SPLIT], st.session_state[_FILE] = place.split, place.file
    else:
        st.session_state[_SOURCE] = UPLOAD
        keep_file(_PHOTO, place.photo)
        keep_file(_LABELS, place.labels)
        if place.labels is not None and place.coding is not None:
            st.session_state[coding_entry(place.labels)] = place.coding


def own_photo() -> tuple[str, bytes] | None:
    """(name, content) of the photo that the user has chosen, on whichever page."""
    return kept_file(_PHOTO)


def own_labels() -> tuple[str, bytes] | None:
    """(name, content) of the photo's labels."""
    return kept_file(_LABELS)


def own_coding() -> str | None:
    """The key of the coding that was chosen for the photo's labels; None where it is recognised."""
    labels = own_labels()
    return None if labels is None else st.session_state.get(coding_entry(labels))


def _choose_upload(label_set: LabelSet, notices: DeltaGenerator) -> Picture | None:
    photo = kept_upload("Photo", PHOTO_TYPES, key=_PHOTO, help=f"{PHOTO_WORDS}. It stays in your session.")
    labels = kept_upload(
        "Labels (optional)",
        LABEL_TYPES,
        key=_LABELS,
        help=f"An image of the photo's size with one class index per pixel ({literal(_numbered(label_set))}), or in "
        "the classes' colours.",
    )
    if photo is None:
        st.caption("Until you choose a photo, the first street is shown.")
        return None
    for note in photo_notes(photo[1]):
        notices.info(literal(note))
    place = UploadPlace(photo, labels)
    if labels is None:
        return picture_at(place, label_set)
    try:
        coding = _choose_coding(labels, read_photo(photo[1]).original_size, label_set, notices)
        for note in pair_notes(photo[1], labels[1]):
            notices.warning(literal(note))
        return picture_at(dataclasses.replace(place, coding=coding), label_set)
    except UploadError as error:
        picture = picture_at(dataclasses.replace(place, labels=None), label_set)
        notices.error(f"{as_sentence(error)} The photo is shown without labels.")
        return picture


def choose_coding(label_set: LabelSet, *, key: str, on_change: Callable[[], None] | None = None) -> str | None:
    """A selectbox of what several label files are read as: the key of a coding, None to recognise it in each."""
    codings = {coding.key: coding.words for coding in codings_of(label_set)}
    if st.session_state.get(key) not in codings:
        st.session_state[key] = None  # of another model's classes
    return st.selectbox(
        "Labels read as",
        [None, *codings],
        format_func=lambda chosen: "what each file holds" if chosen is None else codings[chosen],
        key=key,
        on_change=on_change,
        persist_state="session",
    )


def _choose_coding(
    labels: tuple[str, bytes], size: tuple[int, int], label_set: LabelSet, notices: DeltaGenerator
) -> str | None:
    """What the labels are read as, said, and to be changed; the key of another coding, None for the recognised one.

    Raises UploadError where they cannot be read, and where nobody has chosen among several readings yet.
    """
    question: CodingUploadError | None = None
    read: LabelImage | None = None
    try:
        read = read_label_image(labels[1], size, label_set)
        choices = {coding.key: coding.words for coding in (read.coding, *read.choices)}
    except CodingUploadError as error:
        question, choices = error, {coding.key: coding.words for coding in error.choices}
    for note in () if read is None else read.notes:
        notices.warning(literal(note))
    if read is not None and len(choices) == 1:
        st.caption(f"Labels read as {literal(read.coding.words)}.")
        return None
    chosen = choose_reading(choices, coding_entry(labels), recognised=read is not None)
    if chosen is None and question is not None:
        raise question
    return None if read is not None and chosen == read.coding.key else chosen


def choose_reading(choices: dict[str, str], entry: str, *, recognised: bool) -> str | None:
    """A selectbox of what one file may be read as, words by key: the first where it was recognised, else None at first.

    entry: the session's.
    """
    return st.selectbox(
        "Labels read as",
        list(choices),
        index=0 if recognised else None,
        placeholder="choose",
        format_func=lambda key: choices[key],
        key=entry,
        persist_state="session",
    )


def coding_entry(labels: tuple[str, bytes]) -> str:
    """The session's entry of the coding that is chosen for a label file: another file is asked for anew."""
    return f"coding {hashlib.sha256(labels[1]).hexdigest()[:16]}"


def _numbered(label_set: LabelSet) -> str:
    return ", ".join(f"{index} {name}" for index, name in enumerate(label_set.class_names))


def _choose_camvid(label_set: LabelSet, notices: DeltaGenerator) -> Picture | None:
    splits = camvid_splits(notices)
    if not splits:
        return None
    split = st.selectbox("Split", list(splits), key=_SPLIT, persist_state="session")
    data = splits[split]
    index = st.selectbox(
        "File",
        range(len(data)),
        format_func=lambda index: data.files[index].stem,
        key=_FILE,
        persist_state="session",
    )
    return camvid_picture(split, index, label_set)
