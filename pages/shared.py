"""What the pages share: choosing an image and a model, and the cached work behind it.

Caches are keyed by content and bounded. What comes from a user's own files is cached for that user's session alone.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from analysis import Capture, capture_attention
from analysis.lens import pack_capture
from analysis.uploads import UploadError, read_labels, read_photo
from dnl import list_checkpoints, load_checkpoint
from dnl.checkpoints import CheckpointError, checkpoint_path
from dnl.classes import CAMVID, LabelSet
from dnl.datasets import CamVid, DatasetError, Sample, Streets
from dnl.network import SegmentationNetwork

STREETS, UPLOAD, CAMVID_FOLDER = "Built-in streets", "Your photo", "CamVid"
CAMVID_SPLITS = ("val", "train")


@dataclass(frozen=True)
class Picture:
    """An image to look at: `image` H×W×3 uint8, `labels` H×W or None; `private` when it is a user's own."""

    image: np.ndarray
    labels: np.ndarray | None
    name: str
    private: bool = False

    def content_hash(self) -> str:
        digest = hashlib.sha256(f"{self.name} {self.image.shape}".encode() + self.image.tobytes())
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Model:
    """A loaded network, its card, and the key of its file's content in caches."""

    network: SegmentationNetwork
    card: dict
    key: str


# --- cached work -----------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=3, show_spinner="Loading the model …")
def _load(name: str, modified: int, size: int) -> Model:
    network, card = load_checkpoint(name)
    return Model(network, card, f"{name} {modified} {size}")


@st.cache_data(max_entries=24, show_spinner="Painting a street …")
def _street(index: int):
    return Streets("gallery")[index]


def _captured(model_key: str, picture_key: str, _model: Model, _picture: Picture) -> tuple[Capture, bytes]:
    capture = capture_attention(_model.network, _picture.image, labels=_picture.labels, name=_picture.name)
    return capture, pack_capture(capture)


_WORDS = "Running the network …"
_captured_for_all = st.cache_data(_captured, max_entries=16, show_spinner=_WORDS)
_captured_for_one = st.cache_data(_captured, max_entries=4, show_spinner=_WORDS, scope="session")


def captured(model: Model, picture: Picture) -> tuple[Capture, bytes]:
    """The attention of `model` on `picture`, and the lens's buffer of it."""
    run = _captured_for_one if picture.private else _captured_for_all
    return run(model.key, picture.content_hash(), model, picture)


# --- choosing a model ------------------------------------------------------------------------------------------------


def choose_model(notices) -> Model | None:
    """A selectbox of the checkpoints; the chosen one, or another where it cannot be used; None where there is none.

    `notices` is the container for what has to be said about it.
    """
    names = list_checkpoints()
    if not names:
        notices.error(
            "There is no checkpoint to look at: put a .safetensors file in a folder and name it in $DNL_CHECKPOINTS."
        )
        return None
    chosen = st.selectbox("Model", names, key="model", help="Shipped checkpoints, and those in $DNL_CHECKPOINTS.")
    for name in (chosen, *(other for other in names if other != chosen)):
        try:
            model = _model_with_attention(name)
        except CheckpointError as error:
            notices.error(f"{name} cannot be shown: {str(error).rstrip('.')}.")
            continue
        if name != chosen:
            notices.info(f"Showing {name} instead.")
        return model
    return None


def _model_with_attention(name: str) -> Model:
    try:
        stat = checkpoint_path(name).stat()
    except OSError as error:
        raise CheckpointError(f"its file cannot be read ({error.strerror}); choose another") from error
    model = _load(name, stat.st_mtime_ns, stat.st_size)
    if model.network.context is None:
        raise CheckpointError("this network has no attention to look at (context 'fcn'); choose another")
    return model


# --- choosing a picture ----------------------------------------------------------------------------------------------


def choose_picture(label_set: LabelSet, notices) -> Picture:
    """Widgets to choose an image; says in `notices` what is wrong with one, and gives a street in its place."""
    folder = os.environ.get("DNL_DATA")
    sources = [STREETS, UPLOAD, *([CAMVID_FOLDER] if folder else [])]
    source = st.selectbox("Image", sources, key="source")
    try:
        if source == UPLOAD:
            return _choose_upload(label_set, notices) or _street_picture(0, label_set)
        if source == CAMVID_FOLDER:
            return _choose_camvid(Path(folder), label_set, notices) or _street_picture(0, label_set)
    except (UploadError, DatasetError) as error:
        notices.error(_as_sentence(error))
        return _street_picture(0, label_set)
    scenes = range(len(Streets("gallery")))
    scene = st.selectbox("Scene", scenes, format_func=lambda index: f"Street {index + 1}", key="scene")
    return _street_picture(scene, label_set)


def _street_picture(index: int, label_set: LabelSet) -> Picture:
    return _labelled_picture(_street(index), f"Street {index + 1}", label_set)


def _labelled_picture(sample: Sample, name: str, label_set: LabelSet) -> Picture:
    """A sample with CamVid's labels; they mean nothing to a model of other classes, and are left out there."""
    labels = sample.labels if label_set.class_names == CAMVID.class_names else None
    return Picture(sample.image, labels, name)


def _as_sentence(error: Exception) -> str:
    words = str(error).rstrip(".")
    return f"{words[0].upper()}{words[1:]}."


def _choose_upload(label_set: LabelSet, notices) -> Picture | None:
    photo = st.file_uploader(
        "Photo", ["png", "jpg", "jpeg", "webp"], key="photo", help="PNG, JPEG or WebP. It stays in your session."
    )
    labels = st.file_uploader(
        "Labels (optional)",
        ["png"],
        key="labels",
        help=f"A PNG of the photo's size with one class index per pixel: {_numbered(label_set)}.",
    )
    if photo is None:
        st.caption("Until you choose a photo, the first street is shown.")
        return None
    image, original_size = read_photo(photo.getvalue())
    found = None
    if labels is not None:
        try:
            found = read_labels(labels.getvalue(), original_size, label_set)
        except UploadError as error:
            notices.error(f"{_as_sentence(error)} The photo is shown without labels.")
    return Picture(image, found, photo.name, private=True)


def _numbered(label_set: LabelSet) -> str:
    return ", ".join(f"{index} {name}" for index, name in enumerate(label_set.class_names))


def _choose_camvid(folder: Path, label_set: LabelSet, notices) -> Picture | None:
    splits, complaints = {}, []
    for split in CAMVID_SPLITS:
        try:
            splits[split] = CamVid(folder, split)
        except DatasetError as error:
            complaints.append(str(error))
    for complaint in complaints:
        notices.error(f"$DNL_DATA: {complaint}.")
    if not splits:
        return None
    split = st.selectbox("Split", list(splits), key="split")
    data = splits[split]
    index = st.selectbox("File", range(len(data)), format_func=lambda index: data.files[index].stem, key="file")
    sample = data[index]
    return _labelled_picture(sample, sample.name, label_set)
