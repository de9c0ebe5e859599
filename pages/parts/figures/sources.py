"""What the Figures page may open: listed checkpoints, built-in streets, CamVid's images and the user's uploads.

A recipe can come from a stranger, so that nothing in it is ever taken for a path on the server.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis.capture import Capture
from analysis.figures import (
    AttentionImage,
    CamVidImage,
    FigureAttention,
    FigureImage,
    FigureModel,
    FileImage,
    ImageSource,
    Recipe,
    RecipeError,
    Row,
    StreetImage,
    camvid_image,
    file_image,
    open_captures,
    require_street,
)
from analysis.files.photos import pair_notes
from dnl import ModelConfig, list_checkpoints
from dnl.checkpoints import CheckpointError, checkpoint_hash, checkpoint_path, label_set_of, read_card
from dnl.classes import LabelSet
from dnl.datasets import Streets
from pages.parts.app.uploaders import LABEL_TYPES, PHOTO_TYPES, PHOTO_WORDS, kept_files, kept_uploads
from pages.parts.app.words import literal
from pages.parts.figures.choices import whole_file
from pages.parts.figures.kept import entry
from pages.parts.subjects.attention_files import Said, own_attention_files
from pages.parts.subjects.captures import captured
from pages.parts.subjects.example import example_file_hash, example_layers, example_name, example_scene
from pages.parts.subjects.models import model_with_attention
from pages.parts.subjects.pictures import (
    Picture,
    camvid_splits,
    choose_coding,
    own_coding,
    own_labels,
    own_photo,
    street_picture,
)
from pages.parts.subjects.places import CamVidPlace, SeenPlace, StreetPlace, UploadPlace, camvid_name, street_name

# The session's entries of the uploaders.
_PHOTOS, _LABELS, _CODING = entry("photos"), entry("labels"), entry("coding")


@st.cache_data(max_entries=16, show_spinner=False)
def _hash(name: str, modified: int, size: int) -> str:
    return checkpoint_hash(name)


def model_hash(name: str) -> str:
    """The SHA-256 of a checkpoint by its listed name. Raises CheckpointError or OSError."""
    stat = checkpoint_path(name).stat()
    return _hash(name, stat.st_mtime_ns, stat.st_size)


def listed_hash(name: str) -> str | None:
    """The SHA-256 of a listed checkpoint; None for any other name, whose file is not looked for."""
    return model_hash(name) if name in list_checkpoints() else None


def own_options(names: Iterable[str]) -> dict[str, str]:
    """What the listed ones of these checkpoints have of themselves: "gate", "lr_kernel" and "lr_weights" in words.

    What they differ in is left out.
    """
    configs = [ModelConfig(**read_card(name)["config"]) for name in names if name in list_checkpoints()]
    found: dict[str, set[str]] = {"gate": set(), "lr_kernel": set(), "lr_weights": set()}
    for config in configs:
        kernel = config.lr_kernel
        found["gate"].add(config.gate if config.uses_gate else "none")
        found["lr_kernel"].add(f"{kernel}×{kernel}" if config.uses_retention else "none")
        found["lr_weights"].add(config.lr_weights if config.uses_retention else "none")
    return {name: words.pop() for name, words in found.items() if len(words) == 1}


def open_model(name: str) -> FigureModel:
    """A checkpoint by its listed name: a name is never taken for a path."""
    if name not in list_checkpoints():
        raise CheckpointError(f"it is not here; choose one of {', '.join(list_checkpoints())}")
    return FigureModel(model_with_attention(name).network, model_hash(name))


def own_files() -> dict[str, bytes]:
    """The user's uploads, by the paths that they have in recipes."""
    photos, labels = photo_uploads(), label_uploads()
    return dict(photos) | {label_path(name, dict(photos)): content for name, content in labels}


def choose_own_photos() -> None:
    """An uploader of photos."""
    words = f"{PHOTO_WORDS}. They stay in your session, and join the images of the rows."
    kept_uploads("Your photos", PHOTO_TYPES, key=_PHOTOS, help=words)


def choose_own_labels(checkpoint: str, on_coding: Callable[[], None]) -> None:
    """An uploader of the photos' labels, and what they are read as for the classes of a checkpoint.

    on_coding: called when something else is chosen.
    """
    words = "Label images, each named like its photo: street.jpg and street-labels.png."
    if kept_uploads("Their labels", LABEL_TYPES, key=_LABELS, help=words) and checkpoint in list_checkpoints():
        choose_coding(label_set_of(read_card(checkpoint)), key=_CODING, on_change=on_coding)
    for note in _notes_of_pairs():
        st.warning(literal(note))


def photo_uploads() -> list[tuple[str, bytes]]:
    """(name, content) of the photos brought here, and of the one brought to the Explorer."""
    explorers = own_photo()
    return [*([explorers] if explorers else []), *kept_files(_PHOTOS)]


def label_uploads() -> list[tuple[str, bytes]]:
    """(name, content) of the label files brought here, and of the Explorer's photo."""
    explorers = own_labels()
    return [*([explorers] if explorers else []), *kept_files(_LABELS)]


def label_path(name: str, photos: dict) -> str:
    """A label file that is named like a photo lies in a folder of its own."""
    return f"labels/{name}" if name in photos else name


def attention_images() -> list[AttentionImage]:
    """The user's attention files, and those of the example on each built-in street."""
    own = [
        AttentionImage(file.name, sha256=file.digest, **dataclasses.asdict(file.said)) for file in own_attention_files()
    ]
    taken = {image.path for image in own}
    names = [example_name(scene) for scene in range(len(Streets("gallery")))]
    return [*own, *(AttentionImage(name) for name in names if name not in taken)]


def open_attention(source: AttentionImage) -> FigureAttention:
    """An attention file that a recipe may name here: the user's, or the example's. Raises RecipeError."""
    said = Said(source.coding, source.label_set, source.class_names, source.ignore_index)
    own = next((file for file in own_attention_files() if file.name == source.path), None)
    if own is not None:
        return FigureAttention(dataclasses.replace(own, said=said).layers, own.digest)
    scene = example_scene(source.path)
    if scene is None:
        raise RecipeError(f"{source.path!r} is not among your files; add it under “Attention files”")
    return FigureAttention(example_layers(scene), example_file_hash(scene))


def heads_in(source: AttentionImage) -> dict[str, tuple[int, ...]]:
    """The heads of each layer of an attention file; none where it is not here or cannot be read."""
    try:
        return {layer.name: layer.heads for layer in open_attention(source).layers}
    except ValueError:
        return {}  # the page says what is wrong where the figure is drawn


def shared_heads(rows: Sequence[Row]) -> list[int]:
    """The heads that the layers of all rows have; none unless all rows are of attention files."""
    shared: list[int] | None = None
    for row in rows:
        if not isinstance(row.image, AttentionImage):
            return []
        layers = heads_in(row.image)
        own = layers.get(row.image.layer or next(iter(layers), ""), ())
        shared = list(own) if shared is None else [head for head in shared if head in own]
    return shared or []


def example_scenes(recipe: Recipe) -> list[int]:
    """The streets of the example's attention files in a recipe."""
    paths = dict.fromkeys(row.image.path for row in recipe.rows if isinstance(row.image, AttentionImage))
    return [scene for path in paths if (scene := example_scene(path)) is not None]


def image_here(image: ImageSource) -> ImageSource:
    """The file that is here in place of one that an opened recipe was made with; others as they are."""
    if isinstance(image, AttentionImage):
        own = next((file for file in attention_images() if file.path == image.path), None)
        return image if own is None else dataclasses.replace(own, layer=image.layer, head=image.head)
    if isinstance(image, FileImage):
        return next((own for own in own_images() if own.path == image.path), image)
    return image


def with_hashes(values: dict) -> dict:
    """A recipe's values, with the SHA-256 of the example's attention files where they have none."""
    rows = []
    for row in values["rows"]:
        image = row["image"]
        scene = example_scene(image["path"]) if image["source"] == "attention" and image["sha256"] is None else None
        rows.append(row if scene is None else row | {"image": image | {"sha256": example_file_hash(scene)}})
    return values | {"rows": rows}


def own_images() -> list[FileImage]:
    """Each photo with its labels: the Explorer's pair, else the label file that is named like it."""
    photos, labels = photo_uploads(), dict(label_uploads())
    pairs, explorers = labels_by_photo(dict(photos), labels), (own_photo(), own_labels())
    found = []
    for name, content in photos:
        pair, coding = pairs.get(name), st.session_state.get(_CODING)
        if all(explorers) and name == explorers[0][0]:
            pair, coding = explorers[1][0], own_coding()
        path = None if pair is None else label_path(pair, dict(photos))
        digest = None if pair is None else sha256(labels[pair])
        found.append(FileImage(name, path, sha256(content), digest, None if pair is None else coding))
    return found


def labels_by_photo(photos: Iterable[str], labels: Iterable[str]) -> dict[str, str]:
    """The label file of each photo that has one, by their names.

    A label file is of the photo with the longest name that its own begins with and goes on from with neither letter nor
    digit: img_10_labels.png is of img_10.jpg and not of img_1.jpg. Of several the one with the photo's very name
    counts, else the first.
    """
    stems = {photo: Path(photo).stem for photo in photos}
    found: dict[str, str] = {}
    for label in labels:
        own = Path(label).stem
        fitting = [stem for stem in stems.values() if own.startswith(stem) and not own[len(stem) :][:1].isalnum()]
        for photo in (photo for photo, stem in stems.items() if stem == max(fitting, key=len, default=None)):
            if photo not in found or own == stems[photo]:
                found[photo] = label
    return found


def _notes_of_pairs() -> list[str]:
    """Sentences about the photos' label files: those that are of no photo, and those that may be turned otherwise."""
    photos, labels = dict(photo_uploads()), dict(label_uploads())
    pairs = [(image.path, Path(image.labels).name) for image in own_images() if image.labels is not None]
    used = {label for _, label in pairs}
    notes = [
        f"{label} is of no photo here: name it like its photo." for label, _ in kept_files(_LABELS) if label not in used
    ]
    for photo, label in pairs:
        notes += [f"{photo}: {note}" for note in pair_notes(photos[photo], labels[label])]
    return notes


def sha256(content: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read_own(path: str) -> bytes:
    """The content of an upload; nothing is ever read from the server's disk."""
    files = own_files()
    if path not in files:
        raise RecipeError(f"{path!r} is not among your files; add it under “Your photos”")
    return files[path]


def open_image(source: ImageSource, label_set: LabelSet) -> FigureImage:
    """An image that a recipe may name here. Raises RecipeError, UploadError or DatasetError."""
    if isinstance(source, FileImage):
        return file_image(source, read_own, label_set)
    if isinstance(source, CamVidImage):
        if "DNL_DATA" not in os.environ:
            raise RecipeError("it is an image of CamVid, whose folder this app does not know ($DNL_DATA)")
        return camvid_image(source, Path(os.environ["DNL_DATA"]), label_set)
    require_street(source, len(Streets("gallery")))
    picture = street_picture(source.index, label_set)
    return FigureImage(picture.image, picture.labels, picture.name)


def remembered_captures(recipe: Recipe) -> tuple[list[Capture], dict[str, str]]:
    """The recipe's captures, each computed once, and its checkpoints' hashes."""
    own = dict(photo_uploads())

    def remembered(name: str, picture: FigureImage) -> Capture:
        shown = Picture(picture.image, picture.labels, picture.name, private=picture.name in own)
        return captured(model_with_attention(name), shown)[0]

    return open_captures(recipe, open_model, open_image, remembered, open_attention)


# --- choosing images -------------------------------------------------------------------------------------------------


def image_choices(rows: list[Row], notices: DeltaGenerator) -> list[ImageSource]:
    """Every image that a row can show, and those that an opened recipe names."""
    offered: list[ImageSource] = [StreetImage(index) for index in range(len(Streets("gallery")))]
    offered += [*attention_images(), *own_images()]
    if os.environ.get("DNL_DATA"):
        for split, data in camvid_splits(notices).items():
            offered += [CamVidImage(split, name) for name in data.names]
    shown = [whole_file(row.image) for row in rows]
    named = {image.path for image in shown if isinstance(image, AttentionImage)}
    offered = [image for image in offered if not (isinstance(image, AttentionImage) and image.path in named)]
    return list(dict.fromkeys([*offered, *shown]))


def image_words(source: ImageSource) -> str:
    """An image's name among a row's choices."""
    if isinstance(source, StreetImage):
        return street_name(source.index)
    if isinstance(source, CamVidImage):
        return f"CamVid {source.split}: {source.file}"
    if isinstance(source, AttentionImage):
        scene = example_scene(source.path)
        return source.path if scene is None else f"{street_name(scene)}, vision transformer"
    return source.path if source.labels is None else f"{source.path} (with labels)"


def source_at(place: UploadPlace | SeenPlace | None) -> ImageSource | None:
    """The image of a picture's place or of one that was seen; None where it is not at hand (any more)."""
    if place is None:
        return None
    if isinstance(place, StreetPlace):
        return StreetImage(place.scene)
    if isinstance(place, CamVidPlace):
        name = camvid_name(place)
        return None if name is None else CamVidImage(place.split, name)
    name = place.photo[0] if isinstance(place, UploadPlace) else place.photo
    return next((image for image in own_images() if image.path == name), None)
