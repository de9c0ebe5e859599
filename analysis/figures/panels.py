"""Captures and their queries -> the panels, colour scales and colour bars of a figure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import LogNorm, Normalize

from analysis.capture import Capture
from analysis.figures.annotations import Annotation, farthest, is_on
from analysis.figures.drawing import GridFigure, draw_grid
from analysis.figures.layout import Bar, Column, Grid, GridRow, Panel, ends
from analysis.figures.look import Look
from analysis.figures.recipe import DIFFERENCES, PICTURES, Attention, Scale
from analysis.geometry import Grid as CellGrid
from analysis.maps import labels_apart, stage_rows
from analysis.noise import QueryMetrics, query_metrics
from analysis.options import STAGES, stages_there
from analysis.printing import Font, print_settings
from analysis.words import LACKING_WORDS

LOG_DECADES = 4
PREDICTION_NOTE = "Noise is measured against the model's own prediction (no labels), which flatters it."
# What the colours of maps and of differences show, longest form first, for each kind of scale; and the factor of the
# colour bar's numbers.
SHARE_LABELS = ("attention, × an even spread", "× an even spread", "× even")
WEIGHT_LABELS = ("attention weight, %", "weight, %", "%")
OWN_LABELS = ("attention, of each map's top value", "of each map's top", "of top")
RANGE_LABELS = ("attention, of each map's own range", "of each map's range", "of range")
MAP_LABELS = {"uniform": SHARE_LABELS, "log": SHARE_LABELS, "shared": WEIGHT_LABELS, "map": OWN_LABELS}
SHARE_CHANGES = ("difference, × an even spread", "× an even spread", "× even")
WEIGHT_CHANGES = ("difference of weights, %", "difference, %", "%")
OWN_CHANGES = ("difference, of each map's largest", "of each largest", "of largest")
CHANGE_LABELS = {"uniform": SHARE_CHANGES, "log": SHARE_CHANGES, "shared": WEIGHT_CHANGES, "map": OWN_CHANGES}
TOP_WORDS = ("top value ", "top ", "")
NOT_FROM_ZERO = ", not from 0"
FACTORS = {"uniform": 1.0, "log": 1.0, "shared": 100.0, "map": 1.0}


class Subject(NamedTuple):
    """One row of a figure: a capture, the query's pixel (y, x) where there is one, and the row's title.

    attention: how this row's maps are computed; None: as the whole figure's. number: in place of the pixel, of a query
    without a place. columns, crop, inset, annotations: as in `recipe.Row`. heads: captures of further heads, by their
    columns.
    """

    capture: Capture
    pixel: tuple[int, int] | None = None
    title: str = ""
    attention: Attention | None = None
    number: int | None = None
    columns: Sequence[str] | None = None
    crop: tuple[int, int, int, int] | None = None
    inset: tuple[int, int, int, int] | None = None
    heads: Mapping[str, Capture] = MappingProxyType({})
    annotations: Sequence[Annotation] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels of what is shown; one pixel a cell where the capture has no picture."""
        for picture in (self.capture.image, self.capture.labels, self.capture.prediction):
            if picture is not None:
                return picture.shape[:2]
        if self.capture.query_names is not None:
            return self.capture.key_cells
        (height, width), (key_height, key_width) = self.capture.cells, self.capture.key_cells
        return max(height, key_height), max(width, key_width)

    @property
    def has_query(self) -> bool:
        """Whether the row has maps."""
        return self.pixel is not None or self.number is not None

    @property
    def query(self) -> int:
        """The flat index of the row's query. Raises ValueError for a pixel off the cells."""
        if self.number is not None:
            return self.number
        assert self.pixel is not None  # asked of rows with a query alone
        if self.capture.query_names is not None:
            raise ValueError(f"the queries of {self.capture.name!r} have no place; choose one by its number")
        row, column = self.grid(self.capture.cells).cell_at(*self.pixel)
        return row * self.capture.width + column

    def query_class(self, cells: np.ndarray | None) -> int | None:
        """The class of the query's cell in a label map of cells; None where there is none."""
        if cells is None or not self.has_query:
            return None
        label = int(cells.flat[self.query])
        return None if label == self.capture.ignore_index else label

    def grid(self, cells: tuple[int, int]) -> CellGrid:
        """How cells of the capture lie on what is shown. The crop is one of the image's."""
        crop = None if self.capture.image is None else self.capture.crop
        return CellGrid(self.size, cells, self.capture.placement, crop)


def compose(
    subjects: Sequence[Subject],
    columns: Sequence[str],
    column_titles: Sequence[str] | None,
    attention: Attention,
    scale: Scale,
    look: Look,
) -> GridFigure:
    """The figure of the subjects' rows; the arguments are the recipe's fields.

    A column of a stage that none of the rows has is left out; where some have it, the others' places say so. Classes
    whose names no font here can write are numbered, and the figure's facts hold their names. Raises ValueError on
    pixels off their image, options that do not fit the captures, and panels without room.
    """
    as_shares = scale.kind in ("uniform", "log")
    drawn = [_DrawnRow(subject, subject.attention or attention, as_shares) for subject in subjects]
    there = [name for name in columns if any(row.shows(name, columns) for row in drawn)]
    if not there:
        raise ValueError(f"no row has a map for {', '.join(columns)}: rectified takes GR, and retained takes LR")
    if column_titles is not None:
        column_titles = [title for name, title in zip(columns, column_titles, strict=True) if name in there]
    columns = there
    scales = {1: _map_scales(drawn, columns, scale), 2: _change_scales(drawn, columns, scale)}
    rows = []
    for index, row in enumerate(drawn):
        panels = [
            _panel(row, name, scales[_group(name)].get((index, name)) if _group(name) else None, scale, look)
            for name in columns
        ]
        rows += _grid_rows(row.subject, panels)
    bars = [_bar(group, scales[group], scale, look) for group in sorted(set(map(_group, columns))) if group]
    named = _columns(columns, column_titles, drawn)
    flattered = look.noise_figures and set(columns) - set(PICTURES) and any(row.flattered for row in drawn)
    with print_settings():
        figure = draw_grid(Grid(rows, named, bars, look, PREDICTION_NOTE if flattered else ""))
    if numbered := numbered_classes(subjects, columns, look):
        figure.facts = {"classes": numbered}
    return figure


def numbered_classes(subjects: Sequence[Subject], columns: Sequence[str], look: Look) -> dict[str, str]:
    """What stands under pictures for classes whose names no font here can write: "class 3" -> its name."""
    font = Font(look.font_family)
    found: dict[str, str] = {}
    for subject in subjects:
        capture = subject.capture
        cells = {"labels": capture.cell_labels, "prediction": capture.cell_prediction}
        shown = [cells[name] for name in cells if name in columns and look.noise_figures]
        for label in map(subject.query_class, [*shown, capture.reference_labels] if look.class_titles else shown):
            if label is not None and capture.label_set is not None:
                name, text = capture.label_set.class_names[label], class_text(capture, label, font)
                found |= {} if text == name else {text: name}
    return found


def class_text(capture: Capture, label: int, font: Font) -> str:
    """The name of a class in a figure, or its number where no font here can write it."""
    assert capture.label_set is not None  # where there are labels, their classes have names
    name = capture.label_set.class_names[label]
    return name if font.can_write(name) else f"class {label}"


def _grid_rows(subject: Subject, panels: Sequence[Panel]) -> list[GridRow]:
    """A row of panels, and beneath it that of its inset; ValueError for parts that do not lie on the image."""
    for name, part in (("crop", subject.crop), ("inset", subject.inset)):
        if part is not None and (part[0] + part[2] > subject.size[0] or part[1] + part[3] > subject.size[1]):
            raise ValueError(
                f"the {name} [{', '.join(map(str, part))}] does not lie on the image of {subject.size[0]}×"
                f"{subject.size[1]} pixels; give [top, left, height, width]"
            )
    for annotation in subject.annotations:
        if any(side >= size for side, size in zip(farthest(annotation), subject.size, strict=True)):
            raise ValueError(
                f"the {annotation.kind} at row {annotation.at[0]}, column {annotation.at[1]} does not lie on the image "
                f"of {subject.size[0]}×{subject.size[1]} pixels; move it"
            )
    extent = subject.grid(subject.capture.key_cells).extent()
    row = GridRow(panels, subject.size, extent, subject.title, view=subject.crop, box=subject.inset)
    if subject.inset is None:
        return [row]
    bare = [replace(panel, captions=((),)) for panel in panels]
    return [row, GridRow(bare, subject.size, extent, view=subject.inset, is_inset=True)]


def columns_there(columns: Sequence[str], rows: Sequence[tuple[Capture, Attention]]) -> list[str]:
    """Those of the columns that some row has something for: pictures, stages that there are, and their differences."""
    there = {stage for capture, attention in rows for stage in stages_there(attention.of(capture))}
    of_stages = {*STAGES, *DIFFERENCES}
    return [name for name in columns if name not in of_stages or set(name.split("-")) <= there]


def shares(rows: np.ndarray) -> np.ndarray:
    """Each row over its own sum, in multiples of the even spread 1/N: M×h×w -> M×h×w; an empty row stays empty."""
    sums = rows.sum(axis=(1, 2), keepdims=True)
    return np.divide(rows * rows[0].size, sums, out=np.zeros_like(rows), where=sums > 0)


class _DrawnRow:
    """A subject with its maps, h×w each by name, and the noise of its stages."""

    def __init__(self, subject: Subject, attention: Attention, as_shares: bool):
        self.subject, self.attention, capture = subject, attention, subject.capture
        self.maps: dict[str, np.ndarray] = {}
        self.noise: dict[str, QueryMetrics] = {}
        labels, query_labels = capture.key_labels, labels_apart(capture)
        self.flattered = capture.reference == "prediction"
        if not subject.has_query:
            return
        if capture.query_names is not None and capture.key_size is None:
            raise ValueError(f"the keys of {capture.name!r} have no place on the image: there is no map to draw")
        query = [subject.query]
        stages = stage_rows(capture, query, attention)
        found: dict[str, Any] = {name: getattr(stages, name) for name in stages_there(attention.of(capture))}
        raw = replace(attention, gate=None, lr_kernel=None)
        found |= {name: stage_rows(each, query, raw).raw for name, each in subject.heads.items()}
        for name, rows in found.items():
            self.maps[name] = (shares(rows) if as_shares else rows)[0]
            if labels is not None and rows.min() >= 0:  # noise is defined for shares alone
                self.noise[name] = query_metrics(
                    rows, labels, query, ignore_index=capture.ignore_index, query_labels=query_labels
                )
        for name in DIFFERENCES:
            after, before = name.split("-")
            if {after, before} <= self.maps.keys():
                self.maps[name] = self.maps[after] - self.maps[before]

    def shows(self, name: str, columns: Sequence[str]) -> bool:
        """Whether the row has a panel in one of the figure's columns."""
        wanted = columns if self.subject.columns is None else self.subject.columns
        return name in self.subject.heads or (name in wanted and (name in PICTURES or name in self.maps))


def _group(column: str) -> int:
    return 0 if column in PICTURES else 2 if column in DIFFERENCES else 1


# --- colour scales ---------------------------------------------------------------------------------------------------


class MapScale(NamedTuple):
    """A map's colour scale; `clipped` where values lie beyond it."""

    norm: Normalize
    clipped: bool


def _map_scales(drawn: Sequence[_DrawnRow], columns: Sequence[str], scale: Scale) -> dict[tuple[int, str], MapScale]:
    """By row and column; one and the same scale for all, unless each map has its own."""
    maps = _maps_of(drawn, columns, 1)
    if scale.kind == "map":
        return {place: map_scale([shown], scale) for place, shown in maps.items()}
    return dict.fromkeys(maps, map_scale(list(maps.values()), scale)) if maps else {}


def _maps_of(drawn: Sequence[_DrawnRow], columns: Sequence[str], group: int) -> dict[tuple[int, str], np.ndarray]:
    """The maps of a group that there are, by row and column."""
    return {
        (index, name): row.maps[name]
        for index, row in enumerate(drawn)
        for name in columns
        if _group(name) == group and row.shows(name, columns)
    }


def map_scale(maps: Sequence[np.ndarray], scale: Scale) -> MapScale:
    """The common scale of maps, h×w each: `shares` for the kinds "uniform" and "log", weights for the others."""
    top, most = _top(maps, scale)
    if scale.kind in ("uniform", "log"):
        top = min(most, max(top, 1.0))  # where a few cells take everything, the scale still reaches the even spread
    top = top or 1.0  # nothing but zeros: any scale will do
    if scale.kind == "log":
        return MapScale(LogNorm(top / 10**LOG_DECADES, top, clip=True), most > top)
    lowest = min(float(shown.min()) for shown in maps) if scale.from_lowest else 0.0
    return MapScale(Normalize(lowest if lowest < top else 0.0, top), most > top)


def bar_labels(scale: Scale) -> Sequence[str]:
    """What the colours of maps show, longest form first."""
    if not scale.from_lowest or scale.kind == "log":
        return MAP_LABELS[scale.kind]
    if scale.kind == "map":
        return RANGE_LABELS
    return [f"{label}{NOT_FROM_ZERO}" for label in MAP_LABELS[scale.kind]]


def _change_scales(drawn: Sequence[_DrawnRow], columns: Sequence[str], scale: Scale) -> dict[tuple[int, str], MapScale]:
    """Like `_map_scales` for the differences: linear, and as far below nothing as above."""
    maps = _maps_of(drawn, columns, 2)
    if scale.kind == "map":
        return {place: _change_scale([shown], scale) for place, shown in maps.items()}
    return dict.fromkeys(maps, _change_scale(list(maps.values()), scale)) if maps else {}


def _change_scale(maps: list[np.ndarray], scale: Scale) -> MapScale:
    top, most = _top([np.abs(shown) for shown in maps], scale)
    top = top or 1.0
    return MapScale(Normalize(-top, top), most > top)


def _top(maps: Sequence[np.ndarray], scale: Scale) -> tuple[float, float]:
    """The end of the scale of some maps, and their largest value; the percentile of sharp maps can be 0."""
    values = np.concatenate([shown.ravel() for shown in maps])
    most = float(values.max())
    # A value that there is, as in the lens.
    return float(np.percentile(values, scale.clip_percentile, method="higher")) or most, most


def _bar(group: int, scales: dict[tuple[int, str], MapScale], scale: Scale, look: Look) -> Bar:
    labels = bar_labels(scale) if group == 1 else CHANGE_LABELS[scale.kind]
    colormap = look.colormap if group == 1 else look.difference_colormap
    # Where each map has a scale of its own, the bar counts in parts of its end.
    norm = next(iter(scales.values())).norm if scale.kind != "map" else Normalize(0 if group == 1 else -1, 1)
    return Bar(group, norm, colormap, labels, FACTORS[scale.kind], any(found.clipped for found in scales.values()))


# --- panels ----------------------------------------------------------------------------------------------------------


def _panel(row: _DrawnRow, name: str, scale: MapScale | None, recipe_scale: Scale, look: Look) -> Panel:
    subject = row.subject
    outline = None if name in ("labels", "prediction") else _outline(row, look)
    marks: dict[str, Any] = {"query": subject.pixel, "outline": outline}
    if subject.columns is not None and name not in subject.columns and name not in subject.heads:
        return Panel(None, is_there=False)
    borne = [each for each in subject.annotations if is_on(each, is_photo=name == "photo", is_map=bool(_group(name)))]
    if scale is None and _group(name):
        return Panel(None, missing=_lacking(row, name), **(marks | {"query": None, "outline": None}))
    marks["annotations"] = borne
    if scale is None:
        captions = _picture_captions(subject, name, look) if look.noise_figures else ((),)
        return Panel(_picture(subject.capture, name), captions=captions, missing=f"no {name}", **marks)
    captions = ((),)
    if look.noise_figures and set(name.split("-")) <= row.noise.keys():
        captions = _noise_captions(row, name) if _group(name) == 1 else _change_captions(row, name)
    if recipe_scale.kind == "map":
        captions = _with_top(captions, scale.norm)
    colormap = look.colormap if _group(name) == 1 else look.difference_colormap
    return Panel(row.maps[name], scale.norm, colormap, captions, **marks)


def _lacking(row: _DrawnRow, name: str) -> str:
    """Why a row has no map for a column."""
    lacking = (LACKING_WORDS[stage] for stage in name.split("-") if stage not in row.maps)
    return " and ".join(dict.fromkeys(lacking))


def _picture(capture: Capture, name: str) -> np.ndarray | None:
    if name == "photo":
        return capture.image
    labels = capture.labels if name == "labels" else capture.prediction
    return None if labels is None or capture.label_set is None else capture.label_set.colour(labels)


def _outline(row: _DrawnRow, look: Look) -> np.ndarray | None:
    """H×W bool: the pixels of the query's class; None where no outline is wanted or there is no class."""
    capture = row.subject.capture
    if look.class_outline == "none":
        return None
    true = look.class_outline == "true"
    label = row.subject.query_class(capture.cell_labels if true else capture.cell_prediction)
    shown = capture.labels if true else capture.prediction
    return None if label is None or shown is None else shown == label


def _picture_captions(subject: Subject, name: str, look: Look) -> Sequence[Sequence[str]]:
    if not subject.has_query:
        return ((),)
    if name == "photo":
        if subject.pixel is None:
            return ((),)
        y, x = subject.pixel
        return (f"row {y}, column {x}",), (f"({y}, {x})",)
    cells = subject.capture.cell_labels if name == "labels" else subject.capture.cell_prediction
    label = subject.query_class(cells)
    if label is None:
        return (() if cells is None else ("no class",),)
    return ((class_text(subject.capture, label, Font(look.font_family)),),)


def _noise_captions(row: _DrawnRow, name: str) -> Sequence[Sequence[str]]:
    """Interclass noise, and the same over chance; or why there is none."""
    metrics = row.noise[name]
    if metrics.labels[0] == row.subject.capture.ignore_index:
        what = "cell" if row.subject.pixel is not None else "query"
        return ("no noise figure:", f"{what} without a label"), ("no noise:", "no label"), ("no", "label")
    if metrics.emptied[0]:
        return ("emptied: nothing", "is left of this row"), ("emptied",)
    noise, chance = metrics.interclass_noise[0], metrics.chance[0]
    if np.isnan(noise):
        return ("no noise figure:", "nothing to compare with"), ("no noise:", "one class"), ("one", "class")
    over, chance_over = f"{noise / chance:.2f} ×", f"{noise / chance:.2f} × chance"
    return (
        (f"interclass noise {noise:.2f}", chance_over),
        (f"noise {noise:.2f}", chance_over),
        (f"λ {noise:.2f}", over),
    )


def _change_captions(row: _DrawnRow, name: str) -> Sequence[Sequence[str]]:
    """By how much the interclass noise changes; nothing where it is undefined before or after."""
    after, before = (row.noise[stage].interclass_noise[0] for stage in name.split("-"))
    if np.isnan(after - before):
        return ((),)
    change = f"{after - before:+.2f}".replace("-", "−")
    change = "±0.00" if change in ("+0.00", "−0.00") else change
    return (f"interclass noise {change}",), (f"noise {change}",), (f"λ {change}",)


def _with_top(captions: Sequence[Sequence[str]], norm: Normalize) -> Sequence[Sequence[str]]:
    """The captions with one more line: where the map's own scale ends, and where it begins if not at 0."""
    forms = [captions[min(index, len(captions) - 1)] for index in range(3)]
    low, top = (100 * end for end in ends(norm))
    if low > 0:
        # As many digits as it takes to tell the two apart.
        digits = 2 - math.floor(math.log10((top - low) / top))
        return [(*form, f"{low:.{digits}g} … {top:.{digits}g} %") for form in forms]
    return [(*form, f"{words}{top:.2g} %") for form, words in zip(forms, TOP_WORDS, strict=True)]


# --- titles ----------------------------------------------------------------------------------------------------------


def _columns(columns: Sequence[str], titles: Sequence[str] | None, drawn: Sequence[_DrawnRow]) -> list[Column]:
    if titles is not None:
        return [Column(_group(name), title) for name, title in zip(columns, titles, strict=True)]
    subtitles = stage_words([(row.subject.capture, row.attention) for row in drawn])
    return [
        Column(_group(name), name.replace("-", " −\N{NO-BREAK SPACE}"), subtitles.get(name, "")) for name in columns
    ]


def attention_words(capture: Capture, attention: Attention) -> str:
    """How the maps of a row are computed, in a few words."""
    words = stage_words([(capture, attention)])
    parts = [words.get("rectified", "no GR"), words.get("retained", "no LR")]
    return ", ".join(parts + ([] if attention.temperature == 1 else [f"temperature {attention.temperature:g}"]))


def stage_words(rows: Sequence[tuple[Capture, Attention]]) -> dict[str, str]:
    """What each stage is, in two words; a stage that there is not, or that differs between the rows, is left out."""
    found: dict[str, set[str]] = {stage: set() for stage in STAGES}
    for capture, attention in rows:
        options = attention.of(capture)
        kernel = options.lr_kernel
        found["raw"].add("softmax")
        if options.gate is not None:
            found["rectified"].add(f"{options.gate} gate")
        if kernel is not None:
            found["retained"].add(f"{'constant box' if options.lr_weights == 'box' else 'LR'} {kernel}×{kernel}")
    return {stage: words.pop() for stage, words in found.items() if len(words) == 1}
