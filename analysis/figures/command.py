"""Paper figures of the attention of chosen pixels: from captures, from recipes, and as a command.

    python -m analysis.figures recipe.json out.pdf

makes the figure of a recipe (analysis/figures/recipe.py) as PDF, SVG or PNG. The same recipe, checkpoint and images
give the same bytes: no date enters the file, and only fonts that come with matplotlib are used.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import dnl
from analysis.capture import Capture, capture_attention
from analysis.figures.panels import Subject, compose, stage_words
from analysis.figures.recipe import (
    DIFFERENCES,
    PAGE_WIDTH,
    STAGES,
    Attention,
    CamVidImage,
    Checkpoint,
    Colormap,
    FileImage,
    Gate,
    ImageSource,
    Look,
    Recipe,
    RecipeError,
    Scale,
    ScaleKind,
    StreetImage,
    Weights,
    recipe_from_json,
    recipe_hash,
)
from analysis.files.photos import read_labels, read_photo
from analysis.geometry import cell_to_pixel
from analysis.threads import one_thread
from dnl import load_checkpoint
from dnl.checkpoints import checkpoint_hash
from dnl.classes import LabelSet
from dnl.commands import exit_status
from dnl.datasets import CamVid, Streets, camvid_labels
from dnl.files import write_atomically
from dnl.network import SegmentationNetwork

FORMATS = ("pdf", "svg", "png")
RESOLUTIONS = (300, 600)
# At which a PDF or SVG file holds the maps' cells; the cells' edges stay sharp in every viewer.
VECTOR_RESOLUTION = 600
SETTINGS: dict[Any, Any] = {
    "pdf.fonttype": 42,  # TrueType fonts, embedded: text stays text, as journals ask
    "svg.fonttype": "none",
    "svg.hashsalt": "denoised-nl",  # names inside the file, which are drawn by chance otherwise
}
# matplotlib's settings belong to the whole process, and the app's users share it.
_SETTINGS_LOCK = threading.RLock()


class FigureImage(NamedTuple):
    """An image for a figure: `image` H×W×3 uint8, `labels` H×W class indices or None, and its name."""

    image: np.ndarray
    labels: np.ndarray | None
    name: str


class FigureModel(NamedTuple):
    """A loaded network and the SHA-256 of its file."""

    network: SegmentationNetwork
    sha256: str


class OtherFileError(RecipeError):
    """A file that is not the one that the recipe was made with."""


# --- figures ---------------------------------------------------------------------------------------------------------


def attention_figure(
    capture: Capture,
    queries: Sequence[int],
    *,
    gate: Gate | None = "model",
    lr_kernel: int | Literal["model"] | None = "model",
    lr_weights: Weights = "model",
    temperature: float = 1.0,
    scale: ScaleKind = "uniform",
    clip_percentile: float = 99.5,
    colormap: Colormap = "magma",
    width: float = PAGE_WIDTH,
) -> Figure:
    """One row a query, one column each for photo, labels, prediction and the raw, rectified and retained map.

    queries: flat cell indices row·w + column, at least one; marked at the cell's centre. What the capture lacks has
    no column. gate, lr_kernel, lr_weights, temperature: as in `attention_rows`. scale: a kind of
    `figure_recipe.Scale`, and clip_percentile its end. width: of the whole figure, in inches. Under each map stand its
    interclass noise and that over chance. Raises ValueError on options that do not fit.
    """
    if not len(queries):
        raise ValueError("there is no query to draw; give at least one cell index")
    subject = Subject(capture)
    cells = [divmod(int(query), capture.width) for query in queries]
    subjects = [Subject(capture, cell_to_pixel(*cell, subject.size, capture.cells)) for cell in cells]
    pictures = {"photo": capture.image}
    if capture.label_set is not None:
        pictures |= {"labels": capture.labels, "prediction": capture.prediction}
    columns = [name for name, picture in pictures.items() if picture is not None]
    attention = Attention(gate, lr_kernel, lr_weights, temperature)
    look = Look(width=width, colormap=colormap)
    return compose(subjects, [*columns, *STAGES], None, attention, Scale(scale, clip_percentile), look)


def recipe_figure(recipe: Recipe, captures: Sequence[Capture]) -> Figure:
    """The figure of a recipe; captures: one a row, of the row's image and checkpoint. Raises RecipeError."""
    subjects = [Subject(capture, row.pixel, row.title) for capture, row in zip(captures, recipe.rows, strict=True)]
    for index, subject in enumerate(subjects):
        if subject.pixel is not None:
            with _naming(f"rows[{index}].pixel"):
                subject.query  # noqa: B018  raises for a pixel off the image
    with _naming("the figure"):
        return compose(subjects, recipe.columns, recipe.column_titles, recipe.attention, recipe.scale, recipe.look)


def figure_file(
    recipe: Recipe, captures: Sequence[Capture], hashes: Mapping[str, str], file_format: str, dpi: int = 300
) -> bytes:
    """The recipe's figure as a file: "pdf", "svg", or "png" of `dpi` dots an inch.

    hashes: SHA-256 by checkpoint name, written into the file's metadata with the recipe's. Raises RecipeError.
    """
    return print_figure(lambda: recipe_figure(recipe, captures), provenance(recipe, hashes), file_format, dpi)


def print_figure(draw: Callable[[], Figure], facts: Mapping, file_format: str, dpi: int = 300) -> bytes:
    """A figure as a file of one of FORMATS: the same bytes for the same figure and facts, on every machine.

    draw: makes the figure, under the settings that a file needs. facts: what the figure was made of, written into the
    file's metadata as JSON; must hold "version". dpi: of a PNG.
    """
    title, note, creator = "Attention of chosen pixels", json.dumps(facts), f"denoised-nl {facts['version']}"
    metadata = {
        "pdf": {"Title": title, "Keywords": note, "Creator": creator, "CreationDate": None},
        "svg": {"Title": title, "Description": note, "Creator": creator, "Date": None},
        "png": {"Title": title, "Description": note, "Software": creator},
    }[file_format]
    file = io.BytesIO()
    with _print_settings(), one_thread():
        figure = draw()
        if file_format == "png":
            # A size of whole dots, a hair more against rounding, since matplotlib cuts the fraction off.
            figure.set_size_inches(*((round(side * dpi) + 1e-6) / dpi for side in figure.get_size_inches()))
        resolution = dpi if file_format == "png" else VECTOR_RESOLUTION
        figure.savefig(file, format=file_format, dpi=resolution, metadata=metadata)
    return file.getvalue()


def provenance(recipe: Recipe, hashes: Mapping[str, str]) -> dict:
    """What a figure was made of: checkpoints with the SHA-256 of their files, the recipe's own, and the version."""
    return {
        "checkpoints": {checkpoint.name: hashes[checkpoint.name] for checkpoint in recipe.checkpoints},
        "recipe_sha256": recipe_hash(recipe),
        "version": dnl.__version__,
    }


@contextlib.contextmanager
def _print_settings() -> Iterator[None]:
    """matplotlib's own defaults and SETTINGS, whatever the user's matplotlibrc says."""
    with _SETTINGS_LOCK, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """Errors in the recipe's terms: which of its parts could not be had."""
    try:
        yield
    except ValueError as error:
        kind = OtherFileError if isinstance(error, OtherFileError) else RecipeError
        raise kind(f"{what}: {str(error).rstrip('.')}") from error


# --- a caption -------------------------------------------------------------------------------------------------------


def caption_text(recipe: Recipe, captures: Sequence[Capture], hashes: Mapping[str, str]) -> str:
    """A caption for the paper: what the columns, colours and figures are, and what the figure was made of."""
    made = ", ".join(f"{checkpoint.name} ({hashes[checkpoint.name][:12]})" for checkpoint in recipe.checkpoints)
    sentences = [
        f"Attention of {len(recipe.rows)} pixel{'s' * (len(recipe.rows) > 1)} in {_names(captures)}.",
        *map_sentences(
            [(capture, recipe.attention) for capture in captures],
            recipe.columns,
            recipe.scale,
            noise=recipe.look.noise_figures,
        ),
        f"Checkpoint {made}, recipe {recipe_hash(recipe)[:12]}, denoised-nl {dnl.__version__}.",
    ]
    return " ".join(sentences)


def map_sentences(
    rows: Sequence[tuple[Capture, Attention]], columns: Sequence[str], scale: Scale, *, noise: bool
) -> list[str]:
    """What the maps of a figure's rows, their colours and the figures under them are; noise: whether it has those."""
    words = stage_words(rows)
    stages = [f"{stage} ({words[stage]})" if stage in words else stage for stage in STAGES if stage in columns]
    changes = [name.replace("-", " − ") for name in columns if name in DIFFERENCES]
    sentences = [f"Maps: {', '.join(stages)}."] if stages else []
    if changes:
        sentences.append(f"Differences: {', '.join(changes)}.")
    if stages or changes:
        sentences.append(SCALE_SENTENCES[scale.kind])
        if scale.clip_percentile < 100:
            sentences.append(f"Scales end at the {scale.clip_percentile:g}th percentile of the values.")
    if noise and (stages or changes):
        sentences.append(NOISE_SENTENCE)
        if any(capture.labels is None for capture, _ in rows):
            sentences.append("Images without labels are measured against the model's own prediction.")
    for temperature in sorted({attention.temperature for _, attention in rows} - {1.0}):
        sentences.append(f"Softmax temperature {temperature:g}.")
    return sentences


def _names(captures: Sequence[Capture]) -> str:
    return ", ".join(dict.fromkeys(capture.name for capture in captures))


SCALE_SENTENCES = {
    "uniform": "Colours: each map over its own sum, in multiples of an even spread over the image.",
    "log": "Colours: each map over its own sum, in multiples of an even spread over the image, logarithmic.",
    "shared": "Colours: attention weights on one scale.",
    "map": "Colours: attention weights, each map on its own scale.",
}
NOISE_SENTENCE = (
    "Under each map: interclass noise λ, the share of the attention on cells of other classes, and λ over chance, "
    "what evenly spread attention would get."
)


# --- opening what a recipe names -------------------------------------------------------------------------------------


def open_captures(
    recipe: Recipe,
    open_model: Callable[[str], FigureModel],
    open_image: Callable[[ImageSource, LabelSet], FigureImage],
    capture: Callable[[str, FigureImage], Capture] | None = None,
) -> tuple[list[Capture], dict[str, str]]:
    """One capture a row, and each checkpoint's SHA-256 by name.

    open_model gets a checkpoint's name; open_image an image source and the model's classes; what they may open is up
    to them. capture, if given, gets a checkpoint's name and an image, and stands in for `capture_attention` (to
    remember its results). Raises RecipeError in one sentence that names the part.
    """
    models = {checkpoint.name: _open_checkpoint(checkpoint, open_model) for checkpoint in recipe.checkpoints}
    found: dict[tuple[str, ImageSource], Capture] = {}
    captures = []
    for index, row in enumerate(recipe.rows):
        name = recipe.checkpoint_of(row).name
        if (name, row.image) not in found:
            with _naming(f"rows[{index}].image"):
                label_set = models[name].network.label_set
                assert label_set is not None  # loading sets it
                picture = open_image(row.image, label_set)
                run = capture or (lambda name, picture: _capture(models[name].network, picture))
                found[name, row.image] = run(name, picture)
        captures.append(found[name, row.image])
    return captures, {name: model.sha256 for name, model in models.items()}


def _capture(network: SegmentationNetwork, picture: FigureImage) -> Capture:
    return capture_attention(network, picture.image, labels=picture.labels, name=picture.name)


def _open_checkpoint(checkpoint: Checkpoint, open_model: Callable[[str], FigureModel]) -> FigureModel:
    with _naming(f"checkpoint {checkpoint.name}"):
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


def file_image(source: FileImage, read: Callable[[str], bytes], label_set: LabelSet) -> FigureImage:
    """A user's photo and labels; read: the bytes of a path. Raises RecipeError or UploadError."""
    data = read(source.path)
    require_hash(hashlib.sha256(data).hexdigest(), source.sha256)
    photo = read_photo(data)
    labels = None
    if source.labels is not None:
        label_data = read(source.labels)
        require_hash(hashlib.sha256(label_data).hexdigest(), source.labels_sha256)
        labels = read_labels(label_data, photo.original_size, label_set)
    return FigureImage(photo.image, labels, Path(source.path).name)


# --- the command -----------------------------------------------------------------------------------------------------


def _local_model(name: str) -> FigureModel:
    network, _ = load_checkpoint(name)
    return FigureModel(network, checkpoint_hash(name))


def _local_image(source: ImageSource, label_set: LabelSet, folder: Path, data: str | None) -> FigureImage:
    """Whatever a recipe may name when a user runs it on the own machine; paths are relative to `folder`."""
    if isinstance(source, StreetImage):
        return street_image(source, label_set)
    if isinstance(source, CamVidImage):
        if data is None:
            raise RecipeError("CamVid needs its folder; name it with --data DIR")
        return camvid_image(source, Path(data), label_set)
    return file_image(source, lambda path: _bytes_of(folder / path), label_set)


def _bytes_of(path: Path) -> bytes:
    """A file that a recipe, perhaps a stranger's, names: a pipe or device would be read without end."""
    try:
        if path.exists() and not path.is_file():
            raise RecipeError(f"{path} is no file")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise RecipeError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})") from error


def write_figure(recipe_path: Path, out: Path, *, data: str | None, dpi: int) -> None:
    """Make the figure of the recipe file and write it to `out`. Raises RecipeError in one sentence."""
    file_format = out.suffix.lower().removeprefix(".")
    if file_format not in FORMATS:
        raise RecipeError(f"{out.name} ends in no known format; let it end in .{', .'.join(FORMATS)}")
    if not out.parent.is_dir():
        raise RecipeError(f"the folder {out.parent} does not exist; create it first")
    text = _bytes_of(recipe_path)
    with _naming(recipe_path.name):
        recipe = recipe_from_json(text)
        captures, hashes = open_captures(
            recipe, _local_model, lambda source, label_set: _local_image(source, label_set, recipe_path.parent, data)
        )
        content = figure_file(recipe, captures, hashes, file_format, dpi)
    write_atomically(out, lambda temporary: Path(temporary).write_bytes(content))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m analysis.figures", description="Make the figure of a recipe.")
    parser.add_argument("recipe", type=Path, help="a recipe in JSON, as the Figures page saves it")
    parser.add_argument("out", type=Path, help="the file to write: .pdf, .svg or .png")
    parser.add_argument("--data", default=os.environ.get("DNL_DATA"), help="CamVid's folder (default: $DNL_DATA)")
    parser.add_argument("--dpi", type=int, choices=RESOLUTIONS, default=300, help="of a PNG (default: 300)")
    options = parser.parse_args(arguments)
    return exit_status(lambda: write_figure(options.recipe, options.out, data=options.data, dpi=options.dpi))


if __name__ == "__main__":
    sys.exit(main())
