"""Recipes: everything that decides a paper figure, as typed values that travel as JSON.

Reading is strict: a field that is unknown, missing or of another type is an error that names it.
"""

import dataclasses
import hashlib
import json
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from analysis.figures.annotations import MAX_PIXEL, Annotation, check_annotations
from analysis.figures.look import PLAIN, Look
from analysis.figures.reading import RecipeError, json_values, read_value, require, shortened_json
from analysis.options import CLIP_PERCENTILE, STAGES, MapOptions, Stage

FORMAT: Final = 1

MAX_ROWS = 12
MAX_TITLE_LENGTH = 60
MAX_HEADS = 16
LEAST_PART = 8  # pixels a side of a crop or an inset
# Far more than a recipe of MAX_ROWS rows needs.
MAX_BYTES = 100_000

Picture = Literal["photo", "labels", "prediction"]
Difference = Literal["rectified-raw", "retained-rectified"]
PICTURES, DIFFERENCES = map(typing.get_args, (Picture, Difference))
Column = Literal[Picture, Stage, Difference]
COLUMNS = typing.get_args(Column)

Gate = Literal["model", "sigmoid", "binary", "similarity", "oracle"]
Weights = Literal["model", "learnt", "box"]
ScaleKind = Literal["uniform", "shared", "map", "log"]


def _require_title(field: str, title: str) -> None:
    if len(title) > MAX_TITLE_LENGTH:
        raise ValueError(f"{field} has {len(title)} characters; a title has at most {MAX_TITLE_LENGTH}")


@dataclass(frozen=True)
class StreetImage:
    """A street of the built-in gallery, counted from 0."""

    index: int
    source: Literal["street"] = "street"

    def __post_init__(self):
        require(self.index >= 0, "index", self.index, "at least 0")


@dataclass(frozen=True)
class FileImage:
    """A photo and, if there is one, its label image; paths are relative to the recipe's folder.

    sha256, labels_sha256: the files' own, in hexadecimal; None leaves them unchecked. labels_coding: the key of the
    labels' coding (docs/label-images.md); None recognises it.
    """

    path: str
    labels: str | None = None
    sha256: str | None = None
    labels_sha256: str | None = None
    labels_coding: str | None = None
    source: Literal["file"] = "file"


@dataclass(frozen=True)
class CamVidImage:
    """An image of a CamVid folder, by its file name without the suffix."""

    split: Literal["train", "val", "test"]
    file: str
    source: Literal["camvid"] = "camvid"


Head = int | Literal["mean"]


@dataclass(frozen=True)
class AttentionImage:
    """What an attention file (docs/attention-files.md) shows, with one of its heads; such a row needs no checkpoint.

    path: relative to the recipe's folder. layer: its name, None for the only one. head: its number, or "mean". sha256:
    the file's own, in hexadecimal; None leaves it unchecked. label_set, class_names, ignore_index, coding: in place of
    what the file says of its labels, as in `analysis.capture.read_capture_file`.
    """

    path: str
    layer: str | None = None
    head: Head = "mean"
    sha256: str | None = None
    label_set: str | None = None
    class_names: tuple[str, ...] | None = None
    ignore_index: int | None = None
    coding: str | None = None
    source: Literal["attention"] = "attention"

    def __post_init__(self):
        require(self.head == "mean" or self.head >= 0, "head", self.head, 'at least 0, or "mean"')


ImageSource = StreetImage | FileImage | CamVidImage | AttentionImage


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint by its name; sha256 of its file in hexadecimal, None leaves it unchecked."""

    name: str
    sha256: str | None = None


@dataclass(frozen=True)
class Attention(MapOptions):
    """How the maps are computed, within what a recipe may say."""

    gate: Gate | None = "model"  # None: no GR
    lr_kernel: Literal["model"] | int | None = "model"  # None: no LR
    lr_weights: Weights = "model"
    temperature: float = 1.0

    def __post_init__(self):
        if isinstance(self.lr_kernel, int):
            require(self.lr_kernel in range(1, 16, 2), "lr_kernel", self.lr_kernel, "an odd number, 1 … 15")
        require(0.01 <= self.temperature <= 100, "temperature", self.temperature, "in 0.01 … 100")


@dataclass(frozen=True)
class Row:
    """One row of panels: an image and, where a map is to be drawn, the query's pixel (y, x).

    What is None here is as in the whole figure. checkpoint: the name of one of the recipe's, the first. attention: how
    this row's maps are computed. columns: those of the recipe's that this row has panels in. crop: the part of the
    image that is shown, (top, left, height, width) in pixels. inset: a part of it that is framed, and shown enlarged in
    panels beneath. annotations: arrows, boxes and texts on it.
    """

    image: ImageSource
    pixel: tuple[int, int] | None = None
    title: str = ""
    checkpoint: str | None = None
    attention: Attention | None = None
    columns: tuple[Column, ...] | None = None
    crop: tuple[int, int, int, int] | None = None
    inset: tuple[int, int, int, int] | None = None
    annotations: tuple[Annotation, ...] = ()

    def __post_init__(self):
        _require_title("title", self.title)
        if self.pixel is not None:
            inside = all(0 <= side <= MAX_PIXEL for side in self.pixel)
            require(inside, "pixel", list(self.pixel), f"[y, x], each in 0 … {MAX_PIXEL}")
        for field in ("crop", "inset"):
            part = getattr(self, field)
            if part is not None:
                fits = all(0 <= side <= MAX_PIXEL for side in part) and min(part[2:]) >= LEAST_PART
                needed = f"[top, left, height, width] in pixels, height and width at least {LEAST_PART}"
                require(fits, field, list(part), needed)


@dataclass(frozen=True)
class Scale:
    """What the colours of the maps mean.

    kind: "uniform", each map over its own sum, in multiples of an even spread; "shared", the weights as they are;
    "map", the weights, each map with a scale of its own; "log", like "uniform" on a logarithmic scale of four decades.
    All but "map" are common to all maps. A scale ends at the clip_percentile of its maps' values. from_lowest: it
    begins at their lowest value in place of 0, for maps that are nearly even, and the colour bar says so; not "log".
    """

    kind: ScaleKind = "uniform"
    clip_percentile: float = CLIP_PERCENTILE
    from_lowest: bool = False

    def __post_init__(self):
        require(50 <= self.clip_percentile <= 100, "clip_percentile", self.clip_percentile, "in 50 … 100")


@dataclass(frozen=True)
class Versions:
    """Of the programs that decide how a figure looks."""

    denoised_nl: str
    torch: str
    matplotlib: str
    numpy: str


@dataclass(frozen=True)
class FileRecord:
    """A checkpoint by its name, or an attention file by its path, and the SHA-256 of its file."""

    name: str
    sha256: str


@dataclass(frozen=True)
class ImageRecord:
    """An image as a checkpoint saw it (None: of an attention file), drawn by code or read from files.

    image_sha256: of its pixels, row by row, three bytes each. labels_sha256: of its class indices, four bytes each, in
    the checkpoint's classes. None where there are none.
    """

    name: str
    checkpoint: str | None
    image_sha256: str | None
    labels_sha256: str | None


@dataclass(frozen=True)
class Record:
    """What a recipe was drawn with when it was saved (analysis/figures/record.py); it decides nothing."""

    versions: Versions
    files: tuple[FileRecord, ...]
    images: tuple[ImageRecord, ...]


@dataclass(frozen=True)
class Recipe:
    """A figure: a grid of `rows` and `columns`. column_titles: one a column ("" for none), or None for their names.

    heads: of rows that are of attention files, whose raw maps follow the columns, one each; of the row's layer.
    checkpoints: none where all rows are of attention files. record: what it was saved with, None where that is unknown.
    """

    checkpoints: tuple[Checkpoint, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...] = ("photo", "labels", *STAGES)
    column_titles: tuple[str, ...] | None = None
    attention: Attention = Attention()
    scale: Scale = Scale()
    look: Look = PLAIN
    heads: tuple[Head, ...] = ()
    format: Literal[1] = FORMAT
    record: Record | None = None

    def __post_init__(self):
        names = [checkpoint.name for checkpoint in self.checkpoints]
        if not names and not all(isinstance(row.image, AttentionImage) for row in self.rows):
            raise ValueError("checkpoints is empty; name at least one")
        if len(set(names)) < len(names):
            raise ValueError("checkpoints has one name twice; name each checkpoint once")
        if not 1 <= len(self.rows) <= MAX_ROWS:
            raise ValueError(f"rows has {len(self.rows)} entries; a figure has 1 … {MAX_ROWS}")
        if not (self.columns or self.heads) or len(set(self.columns)) < len(self.columns):
            raise ValueError("columns is empty or has an entry twice; name each column once")
        self._check_heads()
        if self.column_titles is not None and len(self.column_titles) != len(self.all_columns):
            counts = f"{len(self.column_titles)} entries for {len(self.all_columns)} columns"
            raise ValueError(f"column_titles has {counts}; give each one")
        for index, title in enumerate(self.column_titles or ()):
            _require_title(f"column_titles[{index}]", title)
        for index, row in enumerate(self.rows):
            if row.checkpoint is not None and row.checkpoint not in names:
                raise ValueError(f"rows[{index}].checkpoint is {row.checkpoint!r}; choose one of {', '.join(names)}")
            if strange := [name for name in row.columns or () if name not in self.columns]:
                raise ValueError(
                    f"rows[{index}].columns has {strange[0]!r}; choose from the figure's, {', '.join(self.columns)}"
                )
            check_annotations(row.annotations, f"rows[{index}].annotations")
            maps = set(self.columns if row.columns is None else row.columns) - set(PICTURES)
            if row.pixel is None and (maps or self.heads):
                raise ValueError(f"rows[{index}].pixel is null; a row with maps needs [y, x]")

    def attention_of(self, row: Row) -> Attention:
        """How a row's maps are computed."""
        return self.attention if row.attention is None else row.attention

    def _check_heads(self) -> None:
        if len(set(self.heads)) < len(self.heads) or len(self.heads) > MAX_HEADS:
            raise ValueError(f"heads has {len(self.heads)} entries; name each once, and at most {MAX_HEADS}")
        for head in self.heads:
            require(head == "mean" or head >= 0, "heads", head, 'numbers from 0 on, or "mean"')
        for index, row in enumerate(self.rows if self.heads else ()):
            if not isinstance(row.image, AttentionImage):
                raise ValueError(f"rows[{index}].image is of no attention file, and heads are of attention files alone")

    @property
    def all_columns(self) -> tuple[str, ...]:
        """The names of all columns of panels, those of heads after the others."""
        return (*self.columns, *map(head_column, self.heads))

    def by_row(self, captures: Sequence[Any]) -> list[Sequence[Any]]:
        """Captures as `open_captures` gives them, by row: the row's own, and then those of `heads`."""
        step = 1 + len(self.heads)
        return [captures[start : start + step] for start in range(0, step * len(self.rows), step)]

    def checkpoint_of(self, row: Row) -> Checkpoint | None:
        """The checkpoint whose attention a row shows; None for that of an attention file."""
        if isinstance(row.image, AttentionImage):
            return None
        return next((found for found in self.checkpoints if found.name == row.checkpoint), self.checkpoints[0])


def head_column(head: Head) -> str:
    """The name of a head's column."""
    return "mean of heads" if head == "mean" else f"head {head}"


def recipe_to_json(recipe: Recipe) -> str:
    """The recipe with every field, for people to read and edit."""
    return json.dumps(dataclasses.asdict(recipe), indent=2, ensure_ascii=False) + "\n"


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of the recipe's values, in hexadecimal; its record and the file's layout and order do not count."""
    values = dataclasses.asdict(recipe)
    del values["record"]
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def recipe_from_json(text: str | bytes) -> Recipe:
    """The recipe in a JSON text (bytes: UTF-8); fields left out have their defaults. Raises RecipeError."""
    if len(text) > MAX_BYTES:
        raise RecipeError(f"the recipe is {len(text)} long; a recipe has at most {MAX_BYTES} characters")
    values = json_values(text)
    if isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
        found = shortened_json(values["format"])
        raise RecipeError(f"the recipe's format is {found}; this version reads format {FORMAT}")
    return read_value(Recipe, values, "")
