"""What the pages share: choosing an image and a model, and the cached work behind it.

Caches are keyed by content and bounded. What comes from a user's own files is cached for that user's session alone.
"""

import hashlib
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import streamlit as st
import torch

from analysis import Capture, capture_attention
from analysis.card.health import Health, attention_health
from analysis.files.photos import UploadError, read_labels, read_photo
from analysis.lens import image_id, pack_capture
from analysis.pins.measured import Source
from dnl import list_checkpoints, load_checkpoint
from dnl.checkpoints import CheckpointError, checkpoint_hash, checkpoint_path
from dnl.classes import LabelSet
from dnl.datasets import CamVid, DatasetError, Streets, camvid_labels
from dnl.network import SegmentationNetwork
from pages.parts.app.turns import Turns
from pages.parts.app.uploaders import PHOTO_TYPES, kept_upload
from pages.parts.app.words import NO_CHECKPOINT, as_clause, as_sentence, literal

# Half of the cores for one session's network: the browser and other sessions need the rest, and where cores are scarce
# PyTorch's threads wait for each other at full speed, five times as slow as one of them alone.
torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))

STREETS, UPLOAD, CAMVID_FOLDER = "Built-in streets", "Your photo", "CamVid"
CAMVID_SPLITS = ("val", "train")
# Of the badge that says how a model's attention is.
HEALTH_COLOURS = {"alive": "green", "hardly used": "orange", "collapsed": "red", "unknown": "gray"}
# Images of a session whose pins lead back to them.
MOST_SEEN = 100


@dataclass(frozen=True)
class Picture:
    """An image to look at: `image` H×W×3 uint8, `labels` H×W or None; `private` when it is a user's own.

    place: the session's entries under which `choose_picture` shows this very picture.
    """

    image: np.ndarray
    labels: np.ndarray | None
    name: str
    private: bool = False
    place: dict = field(default_factory=dict)

    def content_hash(self) -> str:
        digest = hashlib.sha256(f"{self.name} {self.image.shape}".encode() + self.image.tobytes())
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Model:
    """A loaded network and its card, the SHA-256 of its file, and its key in caches.

    name: what the user knows it by. private: whether it is a user's own.
    """

    network: SegmentationNetwork
    card: dict
    key: str
    name: str
    sha256: str
    private: bool = False

    @property
    def source(self) -> Source:
        return Source(self.name, self.sha256)

    @property
    def health(self) -> Health:
        return attention_health(self.card.get("metrics", {}))


# --- cached work -----------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=3, show_spinner="Loading the model …")
def _load(name: str, modified: int, size: int) -> Model:
    network, card = load_checkpoint(name)
    return Model(network, card, f"{name} {modified} {size}", name, checkpoint_hash(name))


@st.cache_data(max_entries=24, show_spinner="Painting a street …")
def _street(index: int):
    return Streets("gallery")[index]


_turns = Turns()


def network_turn() -> AbstractContextManager[None]:
    """Wait for the turn to run a network: sessions queue, since several at once take each other's memory and cores.

    A visitor who clicks on leaves the queue.
    """
    return _turns.turn(give_way)


def give_way() -> None:
    """Let a click end a run that is outdated: reading the session's state is where Streamlit stops it."""
    st.session_state.get("page")


def _captured(model_key: str, picture_key: str, _model: Model, _picture: Picture) -> tuple[Capture, bytes]:
    with network_turn():
        capture = capture_attention(_model.network, _picture.image, labels=_picture.labels, name=_picture.name)
    return capture, pack_capture(capture, names=(_model.name,), health=_health_words(_model))


def _compared(model_key, other_key, picture_key, _model: Model, _other: Model, _picture: Picture) -> bytes:
    first, second = (captured(model, _picture)[0] for model in (_model, _other))
    return pack_capture(
        first,
        second,
        names=(_model.name, _other.name),
        health=_health_words(_model),
        other_health=_health_words(_other),
    )


def _health_words(model: Model) -> dict[str, str]:
    return {"state": model.health.state, "sentence": model.health.sentence}


_WORDS = "Running the network …"
_captured_for_all = st.cache_data(_captured, max_entries=16, show_spinner=_WORDS)
_captured_for_one = st.cache_data(_captured, max_entries=4, show_spinner=_WORDS, scope="session")
_compared_for_all = st.cache_data(_compared, max_entries=4, show_spinner=False)
_compared_for_one = st.cache_data(_compared, max_entries=2, show_spinner=False, scope="session")


def captured(model: Model, picture: Picture) -> tuple[Capture, bytes]:
    """The attention of `model` on `picture`, and the lens's buffer of it."""
    run = _captured_for_one if picture.private or model.private else _captured_for_all
    found = run(model.key, picture.content_hash(), model, picture)
    if picture.place:
        _remember_place(image_id(found[0]), picture.place)
    return found


def _remember_place(image: str, place: dict) -> None:
    """Note where an image comes from, so that its pins lead back to it: of a user's own files the names alone."""
    seen = st.session_state.setdefault("pictures seen", {})
    seen.pop(image, None)
    seen[image] = {
        name: value[0] if name in ("kept photo", "kept labels") and value else value for name, value in place.items()
    }
    for oldest in list(seen)[:-MOST_SEEN]:
        del seen[oldest]


def compared(model: Model, other: Model, picture: Picture) -> bytes:
    """The lens's buffer of two models on one picture. Raises ValueError where they know different classes."""
    run = _compared_for_one if picture.private or model.private or other.private else _compared_for_all
    return run(model.key, other.key, picture.content_hash(), model, other, picture)


def say_health(health: Health) -> None:
    """A model's health as a badge, a sentence, and the figures behind it."""
    sentence = health.sentence.removeprefix(f"{health.state.capitalize()}: ")
    st.markdown(f":{HEALTH_COLOURS[health.state]}-badge[{health.state}] {sentence[0].upper()}{sentence[1:]}")
    if health.facts:
        st.table([{"figure": name, "value": value} for name, value in health.facts], hide_header=True)


# --- choosing a model ------------------------------------------------------------------------------------------------


def choose_model(notices) -> Model | None:
    """A selectbox of the checkpoints; the chosen one, or another where it cannot be used; None where there is none.

    `notices` is the container for what has to be said about it.
    """
    names = [*list_checkpoints(), *opened_models()]
    if not names:
        notices.error(NO_CHECKPOINT)
        return None
    chosen = st.selectbox(
        "Model", names, key="model", persist_state="session", help="Shipped checkpoints, and those in $DNL_CHECKPOINTS."
    )
    for name in (chosen, *(other for other in names if other != chosen)):
        try:
            model = model_with_attention(name)
        except CheckpointError as error:
            notices.error(f"{literal(name)} cannot be shown: {as_clause(error)}.")
            continue
        if name != chosen:
            notices.info(f"Showing {literal(name)} instead.")
        return model
    return None


def choose_other_model(first: Model, notices) -> Model | None:
    """A selectbox of the models that can be shown beside `first`; None where none is chosen or it cannot be used."""
    names = [name for name in (*list_checkpoints(), *opened_models()) if name != first.name]
    if not names:
        return None
    if st.session_state.get("compared with") not in names:
        st.session_state["compared with"] = None
    chosen = st.selectbox(
        "Compare with",
        [None, *names],
        placeholder="nothing",
        key="compared with",
        persist_state="session",
        help="A second model, on the same pixel and the same colour scale.",
    )
    if chosen is None:
        return None
    try:
        other = model_with_attention(chosen)
    except CheckpointError as error:
        notices.error(f"{literal(chosen)} cannot be shown beside {literal(first.name)}: {as_clause(error)}.")
        return None
    if other.network.label_set.class_names != first.network.label_set.class_names:
        notices.error(
            f"{literal(chosen)} cannot be shown beside {literal(first.name)}: the two know different classes."
        )
        return None
    return other


def model_with_attention(name: str) -> Model:
    """The checkpoint of that name. Raises CheckpointError where it cannot be read or has no attention."""
    model = opened_models().get(name) or _listed_model(name)
    if model.network.context is None:
        raise CheckpointError("this network has no attention to look at (context 'fcn'); choose another")
    return model


def _listed_model(name: str) -> Model:
    try:
        stat = checkpoint_path(name).stat()
    except OSError as error:
        raise CheckpointError(f"its file cannot be read ({error.strerror}); choose another") from error
    return _load(name, stat.st_mtime_ns, stat.st_size)


def opened_models() -> dict[str, Model]:
    """The models that this session's user has opened on the Models page, by name."""
    return st.session_state.setdefault("opened models", {})


# --- choosing a picture ----------------------------------------------------------------------------------------------


def choose_source(*more: str) -> str:
    """A selectbox of where the image comes from; `more` are sources that one page alone offers."""
    sources = [STREETS, UPLOAD, *([CAMVID_FOLDER] if os.environ.get("DNL_DATA") else []), *more]
    if st.session_state.get("source", STREETS) not in sources:
        st.session_state["source"] = STREETS  # chosen on a page that offers more
    return st.selectbox("Image", sources, key="source", persist_state="session")


def choose_picture(label_set: LabelSet, notices, source: str | None = None) -> Picture:
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
    scenes = range(len(Streets("gallery")))
    scene = st.selectbox("Scene", scenes, format_func=street_name, key="scene", persist_state="session")
    return street_picture(scene, label_set)


def picture_at(place: dict, label_set: LabelSet) -> Picture:
    """The picture of a `Picture.place`. Raises UploadError and DatasetError where it can no longer be read."""
    if place["source"] == STREETS:
        return street_picture(place["scene"], label_set)
    if place["source"] == CAMVID_FOLDER:
        return camvid_picture(place["split"], place["file"], label_set)
    photo, labels = place["kept photo"], place["kept labels"]
    image, original_size = read_photo(photo[1])
    found = None if labels is None else read_labels(labels[1], original_size, label_set)
    return Picture(image, found, photo[0], private=True, place=place)


def street_name(index: int) -> str:
    return f"Street {index + 1}"


def street_picture(index: int, label_set: LabelSet) -> Picture:
    place = {"source": STREETS, "scene": index}
    street = _street(index)
    return Picture(street.image, camvid_labels(street, label_set), street_name(index), place=place)


def camvid_picture(split: str, index: int, label_set: LabelSet) -> Picture:
    """An image of the folder in $DNL_DATA. Raises DatasetError where it cannot be read, or is no longer there."""
    data = CamVid(os.environ["DNL_DATA"], split)
    if index >= len(data):
        raise DatasetError(
            f"image {index + 1} of CamVid's {split} is gone: $DNL_DATA holds {len(data)} now; choose another"
        )
    sample = data[index]
    place = {"source": CAMVID_FOLDER, "split": split, "file": index}
    return Picture(sample.image, camvid_labels(sample, label_set), sample.name, place=place)


def camvid_name(place: dict) -> str | None:
    """The file of a CamVid `Picture.place`, without its ending; None where it is no longer there."""
    try:
        names = CamVid(os.environ["DNL_DATA"], place["split"]).names
    except DatasetError:
        return None  # the page says what is wrong with the folder where someone chooses from it
    return names[place["file"]] if place["file"] < len(names) else None


def _choose_upload(label_set: LabelSet, notices) -> Picture | None:
    photo = kept_upload("Photo", PHOTO_TYPES, "photo", help="PNG, JPEG or WebP. It stays in your session.")
    labels = kept_upload(
        "Labels (optional)",
        ["png"],
        "labels",
        help=f"A PNG of the photo's size with one class index per pixel: {literal(_numbered(label_set))}.",
    )
    if photo is None:
        st.caption("Until you choose a photo, the first street is shown.")
        return None
    place = {"source": UPLOAD, "kept photo": photo, "kept labels": labels}
    try:
        return picture_at(place, label_set)
    except UploadError as error:
        if labels is None:
            raise
        picture = picture_at({**place, "kept labels": None}, label_set)
        notices.error(f"{as_sentence(error)} The photo is shown without labels.")
        return picture


def _numbered(label_set: LabelSet) -> str:
    return ", ".join(f"{index} {name}" for index, name in enumerate(label_set.class_names))


def camvid_splits(notices) -> dict[str, CamVid]:
    """The splits in $DNL_DATA by name; says in `notices` what is wrong with the others."""
    splits = {}
    for split in CAMVID_SPLITS:
        try:
            splits[split] = CamVid(os.environ["DNL_DATA"], split)
        except DatasetError as error:
            notices.error(f"$DNL_DATA: {as_clause(error)}.")
    return splits


def _choose_camvid(label_set: LabelSet, notices) -> Picture | None:
    splits = camvid_splits(notices)
    if not splits:
        return None
    split = st.selectbox("Split", list(splits), key="split", persist_state="session")
    data = splits[split]
    index = st.selectbox(
        "File",
        range(len(data)),
        format_func=lambda index: data.files[index].stem,
        key="file",
        persist_state="session",
    )
    return camvid_picture(split, index, label_set)
