"""Figures of the attention of chosen pixels: of a capture, and of a recipe."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import dnl
from analysis.capture import Capture, Layers, attention_name, quietly
from analysis.figures.annotations import Annotation, check_annotations
from analysis.figures.captions import class_sentences
from analysis.figures.drawing import GridFigure, PlacedPanel
from analysis.figures.look import OF_STYLE, Colormap, Look, Style
from analysis.figures.panels import Subject, attention_words, class_text, compose
from analysis.figures.reading import naming
from analysis.figures.recipe import (
    Attention,
    AttentionImage,
    Gate,
    Recipe,
    Row,
    Scale,
    ScaleKind,
    Weights,
    head_column,
    recipe_hash,
)
from analysis.options import CLIP_PERCENTILE, STAGES
from analysis.printing import Font, PrintedFigure, print_figure


def attention_figure(
    capture: Capture,
    queries: Sequence[int],
    *,
    gate: Gate | None = "model",
    lr_kernel: int | Literal["model"] | None = "model",
    lr_weights: Weights = "model",
    temperature: float = 1.0,
    scale: ScaleKind = "uniform",
    clip_percentile: float = CLIP_PERCENTILE,
    colormap: Colormap = "magma",
    width: float = OF_STYLE,
    style: Style = "plain",
    annotations: Sequence[Annotation] = (),
) -> PrintedFigure:
    """One row a query, one column each for photo, labels, prediction and the raw, rectified and retained map.

    There is no rectified map without GR, and no retained one without LR.

    queries: flat cell indices row·w + column, at least one; marked at the cell's centre. Queries without a place go by
    their numbers, and the rows' titles are their names. What the capture lacks has no column. gate, lr_kernel,
    lr_weights, temperature: as in `attention_rows`. scale: a kind of `recipe.Scale`, and clip_percentile its end.
    style: a publisher's, as in `look.Look`. width: of the whole figure, in inches; the style's page is the default.
    annotations: arrows, boxes and texts in pixels of the image, on every row.
    Under each map stand its interclass noise and that over chance. Raises ValueError on options that do not fit. The
    figure's `savefig` writes files as the command does, with all of this in their metadata; a class whose name no font
    here can write is numbered there and in a warning.
    """
    if not len(queries):
        raise ValueError("there is no query to draw; give at least one cell index")
    check_annotations(annotations, "annotations")
    subjects = [subject._replace(annotations=annotations) for subject in _subjects(capture, queries)]
    pictures = {"photo": capture.image}
    if capture.label_set is not None:
        pictures |= {"labels": capture.labels, "prediction": capture.prediction}
    columns = [name for name, picture in pictures.items() if picture is not None]
    attention = Attention(gate, lr_kernel, lr_weights, temperature)
    look = Look(style, width, colormap=colormap)
    figure = compose(subjects, [*columns, *STAGES], None, attention, Scale(scale, clip_percentile), look)
    for sentence in class_sentences(subjects, columns, look):
        warnings.warn(sentence, stacklevel=2)
    figure.facts = {
        **(figure.facts or {}),
        "image": {"name": capture.name, "sha256": capture.image_sha256},
        "queries": [int(query) for query in queries],
        "options": dataclasses.asdict(attention),
        "scale": {"kind": scale, "clip_percentile": clip_percentile},
        **({"annotations": [dataclasses.asdict(each) for each in annotations]} if annotations else {}),
        "version": dnl.__version__,
    }
    return figure


def _subjects(capture: Capture, queries: Sequence[int]) -> list[Subject]:
    """A row a query: by the pixel of its cell, or by its number and name where it has no place."""
    names = capture.query_names
    if names is None:
        grid = Subject(capture).grid(capture.cells)
        return [Subject(capture, grid.pixel_at(*divmod(int(query), capture.width))) for query in queries]
    if not all(0 <= query < len(names) for query in queries):
        raise ValueError(f"the queries are {list(queries)}; {capture.name!r} has the queries 0 … {len(names) - 1}")
    font = Font(Look().font_family)
    titles = [names[query] if font.can_write(names[query]) else f"query {query}" for query in queries]
    return [Subject(capture, None, title, number=int(query)) for query, title in zip(queries, titles, strict=True)]


def heads_figure(
    layers: Layers,
    pixel: tuple[int, int],
    *,
    heads: Sequence[int] | None = None,
    scale: ScaleKind = "uniform",
    clip_percentile: float = CLIP_PERCENTILE,
    colormap: Colormap = "magma",
    width: float = OF_STYLE,
    style: Style = "plain",
    annotations: Sequence[Annotation] = (),
) -> PrintedFigure:
    """Where one pixel (y, x) looks in several heads and layers: one row a layer, one column a head, beside the photo.

    heads: their numbers; None for all, which must be the same in all layers. The rest is as in `attention_figure`; the
    maps are the softmax's own. Raises ValueError for a head that a layer has not, and a pixel off the image.
    """
    numbers = layers.layers[0].heads if heads is None else heads
    check_annotations(annotations, "annotations")
    subjects = []
    for layer in layers:
        captures = [quietly(layer, head) for head in numbers]
        names = map(head_column, numbers)
        title = layer.name if len(layers) > 1 else ""
        shown = dict(zip(names, captures, strict=True))
        subjects.append(Subject(captures[0], pixel, title, heads=shown, annotations=annotations))
    pictures = ["photo"] if subjects[0].capture.image is not None else []
    options, look = Attention(gate=None, lr_kernel=None), Look(style, width, colormap=colormap)
    figure = compose(subjects, [*pictures, *subjects[0].heads], None, options, Scale(scale, clip_percentile), look)
    first = subjects[0].capture
    figure.facts = {
        **(figure.facts or {}),
        "image": {"name": first.name, "sha256": first.image_sha256},
        "pixel": list(pixel),
        "layers": layers.names,
        "heads": list(numbers),
        "scale": {"kind": scale, "clip_percentile": clip_percentile},
        **({"annotations": [dataclasses.asdict(each) for each in annotations]} if annotations else {}),
        "version": dnl.__version__,
    }
    return figure


def recipe_figure(recipe: Recipe, captures: Sequence[Capture]) -> GridFigure:
    """The figure of a recipe; captures: as `open_captures` gives them. Raises RecipeError."""
    subjects = [
        Subject(
            capture,
            row.pixel,
            row.title or derived_title(recipe, row, capture),
            row.attention,
            columns=row.columns,
            crop=row.crop,
            inset=row.inset,
            annotations=row.annotations,
            heads=dict(zip(map(head_column, recipe.heads), heads, strict=True)),
        )
        for (capture, *heads), row in zip(recipe.by_row(captures), recipe.rows, strict=True)
    ]
    for index, subject in enumerate(subjects):
        if subject.pixel is not None:
            with naming(f"rows[{index}].pixel"):
                subject.query  # noqa: B018  raises for a pixel off the image
    with naming("the figure"):
        columns = recipe.all_columns
        figure = compose(subjects, columns, recipe.column_titles, recipe.attention, recipe.scale, recipe.look)
    figure.facts = {**(figure.facts or {}), "recipe_sha256": recipe_hash(recipe), "version": dnl.__version__}
    return figure


def derived_title(recipe: Recipe, row: Row, capture: Capture) -> str:
    """What a row without a title is called: its query's class; its checkpoint and how its maps are computed where the
    rows differ in them.

    "" where the recipe's look has no such titles, and for a query off the image.
    """
    if not recipe.look.class_titles:
        return ""
    parts = []
    label_set, labels = capture.label_set, capture.reference_labels
    if row.pixel is not None and labels is not None and label_set is not None:
        try:
            label = int(labels.flat[Subject(capture, row.pixel).query])
        except ValueError:
            return ""  # said of the pixel where the figure is drawn
        if label != capture.ignore_index:
            parts.append(class_text(capture, label, Font(recipe.look.font_family)))
    if len({_network(recipe, each) for each in recipe.rows}) > 1:
        parts.append(_network(recipe, row))
    if len({_head(recipe, each) for each in recipe.rows} - {None}) > 1:
        words = capture.layer or "" if recipe.heads else attention_name(capture)
        parts += [words] if words and isinstance(row.image, AttentionImage) else []
    if len({recipe.attention_of(each) for each in recipe.rows}) > 1:
        parts.append(attention_words(capture, recipe.attention_of(row)))
    return " · ".join(parts)


def _network(recipe: Recipe, row: Row) -> str:
    """Whose attention a row shows: the name of its checkpoint, or of its attention file."""
    checkpoint = recipe.checkpoint_of(row)
    return Path(row.image.path).stem if isinstance(row.image, AttentionImage) else getattr(checkpoint, "name", "")


def _head(recipe: Recipe, row: Row) -> tuple | None:
    """Which of its file's heads a row shows; its layer alone where heads have columns of their own."""
    if not isinstance(row.image, AttentionImage):
        return None
    return (row.image.layer,) if recipe.heads else (row.image.layer, row.image.head)


def figure_file(
    recipe: Recipe, captures: Sequence[Capture], hashes: Mapping[str, str], file_format: str, dpi: int = 300
) -> bytes:
    """The recipe's figure as a file: "pdf", "svg", or "png" of `dpi` dots an inch.

    captures, hashes: as `open_captures` gives them; the hashes are written into the file's metadata with the recipe's
    own. Raises RecipeError.
    """
    return print_figure(lambda: recipe_figure(recipe, captures), provenance(recipe, hashes), file_format, dpi)


def figure_preview(
    recipe: Recipe, captures: Sequence[Capture], hashes: Mapping[str, str], dpi: int
) -> tuple[bytes, Sequence[PlacedPanel]]:
    """The recipe's figure as a PNG file, and where its panels are. Else as `figure_file`."""
    drawn: list[GridFigure] = []

    def draw() -> GridFigure:
        drawn.append(recipe_figure(recipe, captures))
        return drawn[-1]

    return print_figure(draw, provenance(recipe, hashes), "png", dpi), drawn[-1].panels


def provenance(recipe: Recipe, hashes: Mapping[str, str]) -> dict:
    """What a figure was made of: the SHA-256 of checkpoints and attention files, the recipe's own, and the version."""
    files = dict.fromkeys(row.image.path for row in recipe.rows if isinstance(row.image, AttentionImage))
    return {
        "checkpoints": {checkpoint.name: hashes[checkpoint.name] for checkpoint in recipe.checkpoints},
        **({"attention_files": {path: hashes[path] for path in files}} if files else {}),
        "recipe_sha256": recipe_hash(recipe),
        "version": dnl.__version__,
    }
