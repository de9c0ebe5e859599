"""What a recipe names, opened: checkpoints and images, and the captures of its rows."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.capture import Capture, Layers, capture_attention, read_capture_file
from analysis.figures.reading import OtherFileError, RecipeError, naming
from analysis.figures.recipe import (
    PICTURES,
    AttentionImage,
    CamVidImage,
    Checkpoint,
    FileImage,
    ImageSource,
    Recipe,
    StreetImage,
)
from analysis.files.photos import pair_notes, read_labels, read_photo
from dnl.classes import LabelSet
from dnl.datasets import CamVid, Streets, camvid_labels
from dnl.network import SegmentationNetwork


class FigureImage(NamedTuple):
    """An image for a figure: `image` H×W×3 uint8, `labels` H×W class indices or None, and its name."""

    image: np.ndarray
    labels: np.ndarray | None
    name: str


class FigureAttention(NamedTuple):
    """An attention file's layers, and its SHA-256."""

    layers: Layers
    sha256: str


class FigureModel(NamedTuple):
    """A loaded network and the SHA-256 of its file."""

    network: SegmentationNetwork
    sha256: str


def open_captures(
    recipe: Recipe,
    open_model: Callable[[str], FigureModel],
    open_image: Callable[[ImageSource, LabelSet], FigureImage],
    capture: Callable[[str, FigureImage], Capture] | None = None,
    open_attention: Callable[[AttentionImage], FigureAttention] | None = None,
) -> tuple[list[Capture], dict[str, str]]:
    """One capture a row, each followed by those of the recipe's heads; and the SHA-256 of checkpoints by name, and of
    attention files by path.

    open_model gets a checkpoint's name; open_image an image source and the model's classes; open_attention an attention
    file; what they may open is up to them. capture, if given, gets a checkpoint's name and an image, and stands in for
    `capture_attention` (to remember its results). Raises RecipeError in one sentence that names the part.
    """
    models = {checkpoint.name: _open_checkpoint(checkpoint, open_model) for checkpoint in recipe.checkpoints}
    hashes = {name: model.sha256 for name, model in models.items()}
    found: dict[tuple[str, ImageSource], Capture] = {}
    captures: list[Capture] = []
    for index, row in enumerate(recipe.rows):
        checkpoint = recipe.checkpoint_of(row)
        if isinstance(row.image, AttentionImage) or checkpoint is None:
            assert isinstance(row.image, AttentionImage)  # no other row is without a checkpoint
            with naming(f"rows[{index}].image"):
                attention = _open_attention(row.image, open_attention)
                captures += _heads(recipe, row.image, attention.layers)
            hashes[row.image.path] = attention.sha256
            continue
        name = checkpoint.name
        if (name, row.image) not in found:
            with naming(f"rows[{index}].image"):
                label_set = models[name].network.label_set
                assert label_set is not None  # loading sets it
                picture = open_image(row.image, label_set)
                run = capture or (lambda name, picture: _capture(models[name].network, picture))
                found[name, row.image] = run(name, picture)
        captures.append(found[name, row.image])
    return captures, hashes


def _open_attention(
    source: AttentionImage, open_attention: Callable[[AttentionImage], FigureAttention] | None
) -> FigureAttention:
    if open_attention is None:
        raise RecipeError("attention files cannot be opened here")
    attention = open_attention(source)
    require_hash(attention.sha256, source.sha256)
    return attention


def _heads(recipe: Recipe, source: AttentionImage, layers: Layers) -> list[Capture]:
    """The row's own head, and those of the recipe. Where heads alone are drawn, the first stands for the row's own."""
    own = recipe.heads[0] if recipe.heads and not set(recipe.columns) - set(PICTURES) else source.head
    layer = layers.layer(source.layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a file's captures have the same in their notes
        return [layer.capture(head) for head in (own, *recipe.heads)]


def _capture(network: SegmentationNetwork, picture: FigureImage) -> Capture:
    return capture_attention(network, picture.image, labels=picture.labels, name=picture.name)


def _open_checkpoint(checkpoint: Checkpoint, open_model: Callable[[str], FigureModel]) -> FigureModel:
    with naming(f"checkpoint {checkpoint.name}"):
        model = open_model(checkpoint.name)
        require_hash(model.sha256, checkpoint.sha256)
    return model


def require_hash(found: str, wanted: str | None) -> None:
    """Raises OtherFileError where a file is not the one that the recipe was made with."""
    if wanted is not None and found != wanted.lower():
        raise OtherFileError(
            f"its SHA-256 is {found[:12]}… but the recipe was made with {wanted[:12]}…; get that file, or take sha256 "
            "out of the recipe to use this one"
        )


def street_image(source: StreetImage, label_set: LabelSet) -> FigureImage:
    """A street of the built-in gallery. Raises RecipeError where there is none of this index."""
    gallery = Streets("gallery")
    require_street(source, len(gallery))
    street = gallery[source.index]
    return FigureImage(street.image, camvid_labels(street, label_set), f"Street {source.index + 1}")


def require_street(source: StreetImage, count: int) -> None:
    """Raises RecipeError where a gallery of `count` streets has none of this index."""
    if source.index >= count:
        raise RecipeError(f"index is {source.index}; the gallery's streets are 0 … {count - 1}")


def camvid_image(source: CamVidImage, folder: Path, label_set: LabelSet) -> FigureImage:
    """An image of the CamVid folder, looked up among its names. Raises DatasetError or RecipeError."""
    data = CamVid(folder, source.split)
    if source.file not in data.names:
        raise RecipeError(f"{source.split} has no file {source.file!r}; give the name of one, without .png")
    sample = data[data.names.index(source.file)]
    return FigureImage(sample.image, camvid_labels(sample, label_set), source.file)


def attention_file(source: AttentionImage, read: Callable[[str], bytes]) -> FigureAttention:
    """A user's attention file; read: the bytes of a path. Raises RecipeError or CaptureFileError."""
    data = read(source.path)
    name = Path(source.path).stem
    file = read_capture_file(
        data,
        name,
        coding=source.coding,
        label_set=source.label_set,
        class_names=source.class_names,
        ignore_index=source.ignore_index,
    )
    return FigureAttention(file.layers, hashlib.sha256(data).hexdigest())


def file_image(source: FileImage, read: Callable[[str], bytes], label_set: LabelSet) -> FigureImage:
    """A user's photo and labels; read: the bytes of a path. Raises RecipeError or UploadError."""
    data = read(source.path)
    require_hash(hashlib.sha256(data).hexdigest(), source.sha256)
    photo = read_photo(data)
    labels = None
    if source.labels is not None:
        label_data = read(source.labels)
        with naming("its labels"):
            require_hash(hashlib.sha256(label_data).hexdigest(), source.labels_sha256)
        labels = read_labels(label_data, photo.original_size, label_set, coding=source.labels_coding)
        for note in pair_notes(data, label_data):
            warnings.warn(note, stacklevel=2)
    return FigureImage(photo.image, labels, Path(source.path).name)
