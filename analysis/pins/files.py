"""Pinned pixels -> files to keep: figures, tables, maps and a caption, each with what it was made of.

`views` are PinnedPixels (analysis/pins/measured.py): one for each image and source, pin n of every view of one image
being the same pixel. The same views give the same bytes: no date enters a file.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

import dnl
from analysis.capture import Capture
from analysis.figures import (
    PAGE_WIDTH,
    Attention,
    Colormap,
    Look,
    Scale,
    Subject,
    class_sentences,
    compose,
    map_sentences,
)
from analysis.files.tables import csv_text
from analysis.options import OPTION_NAMES, option_cells, own_stages
from analysis.pins.measured import PIN_METRICS, PinnedPixels
from analysis.printing import Font, print_figure

# The columns of every table. What few captures have stands in columns of its own, where some view needs it: of queries
# without a place, of keys that are other cells, of tokens that are no cells.
HEADER = (
    "image",
    "image_sha256",
    "source",
    "source_sha256",
    "pin",
    "y",
    "x",
    "cell_row",
    "cell_column",
    "class",
    "measured_against",
    *OPTION_NAMES,
    "stage",
    *PIN_METRICS,
    "emptied",
    "version",
)
UNPLACED, OTHER_KEYS, DROPPED = ("query", "query_name"), ("key_rows", "key_columns"), ("dropped",)
# The earliest that a zip file can hold; no file tells when it was made.
NO_DATE = (1980, 1, 1, 0, 0, 0)
# Of a name in the title of a figure's row; the caption has it whole.
MOST_LETTERS = 40


# --- what was made of what -------------------------------------------------------------------------------------------


def provenance(views: Sequence[PinnedPixels]) -> dict:
    """What the views come from, as JSON values: version, sources and images with their SHA-256, each view's options."""
    found = {
        "version": dnl.__version__,
        "sources": [
            {"kind": source.kind, "name": source.name, "sha256": source.sha256}
            for source in dict.fromkeys(view.source for view in views)
        ],
        "images": [
            {"name": name, "sha256": digest, "height": size[0], "width": size[1]}
            for name, digest, size in dict.fromkeys(
                (view.capture.name, view.capture.image_sha256, view.capture.image_size) for view in views
            )
        ],
        "options": [{"image": view.capture.name, "source": view.source.name, **options_of(view)} for view in views],
    }
    if grids := [
        {"image": view.capture.name, "source": view.source.name, **_grids(view.capture)}
        for view in views
        if not _is_plain(view.capture)
    ]:
        found["grids"] = grids
    return found


def _is_plain(capture: Capture) -> bool:
    """Whether queries and keys are the same cells, on the corners of the whole image."""
    return (
        capture.key_size is None and capture.query_names is None and capture.placement == "corners" and not capture.crop
    )


def _grids(capture: Capture) -> dict:
    """The grids of queries and keys and how they lie on the image, as JSON values."""
    return {
        "queries": list(capture.cells) if capture.query_names is None else len(capture.query_names),
        "keys": list(capture.key_cells),
        "placement": capture.placement,
        "crop": capture.crop and list(capture.crop),
    }


def options_of(view: PinnedPixels) -> dict:
    """How the view's maps were computed: gate and lr_kernel None for no GR and no LR."""
    return {"temperature": view.options.temperature, **view.options.as_dict()}


# --- numbers ---------------------------------------------------------------------------------------------------------


def pins_csv(views: Sequence[PinnedPixels]) -> str:
    """One row a view, pin and stage that there is: the columns of HEADER, and those that only some views need.

    What is undefined, or not there, is empty.
    """
    records = [_record(view, pin, stage) for view in views for pin in range(len(view.pixels)) for stage in view.stages]
    place = HEADER.index("cell_column") + 1
    own = [
        name for name in (*UNPLACED, *OTHER_KEYS, *DROPPED) if any(record.get(name) is not None for record in records)
    ]
    header = (*HEADER[:place], *own, *HEADER[place:])
    return csv_text(header, [[record.get(name) for name in header] for record in records])


def pins_json(views: Sequence[PinnedPixels]) -> str:
    """`provenance`, and every view's pins with their figures by stage; null: undefined, or not there."""
    pins = [
        {
            "image": view.capture.name,
            "source": view.source.name,
            "pin": pin + 1,
            **_place(view, pin),
            "class": view.class_names[pin],
            "measured_against": view.measured_against,
            "stages": {
                stage: view.figures(pin, stage) | {"emptied": view.emptied(pin, stage)} for stage in view.stages
            },
        }
        for view in views
        for pin in range(len(view.pixels))
    ]
    return json.dumps({"provenance": provenance(views), "pins": pins}, indent=2, ensure_ascii=False) + "\n"


def _place(view: PinnedPixels, pin: int) -> dict:
    """Where a pin's query is, as JSON values, and what its row gave to tokens that are no cells."""
    pixel, dropped = view.pixels[pin], view.dropped(pin)
    if pixel is None:
        found: dict = {"query": view.query(pin), "query_name": view.query_name(pin)}
    else:
        found = {"pixel": list(pixel), "cell": list(view.cells[pin])}
    return found if dropped is None else found | {"dropped": dropped}


def _record(view: PinnedPixels, pin: int, stage: str) -> dict:
    placed = view.pixels[pin]
    y, x = (None, None) if placed is None else placed
    row, column = (None, None) if placed is None else view.cells[pin]
    key_rows, key_columns = view.capture.key_size or (None, None)
    return {
        "image": view.capture.name,
        "image_sha256": view.capture.image_sha256,
        "source": view.source.name,
        "source_sha256": view.source.sha256,
        "pin": pin + 1,
        "y": y,
        "x": x,
        "cell_row": row,
        "cell_column": column,
        "query": view.query(pin) if placed is None else None,
        "query_name": view.query_name(pin),
        "key_rows": key_rows,
        "key_columns": key_columns,
        "dropped": view.dropped(pin),
        "class": view.class_names[pin],
        "measured_against": view.measured_against,
        **option_cells(options_of(view)),
        "stage": stage,
        **view.figures(pin, stage),
        "emptied": view.emptied(pin, stage),
        "version": dnl.__version__,
    }


# --- maps ------------------------------------------------------------------------------------------------------------


def pins_npz(views: Sequence[PinnedPixels]) -> bytes:
    """The maps of one image's pins as a NumPy .npz file; views: one a source, of one image.

    For the first source `raw`, and `rectified` and `retained` where there is GR and LR, each P×h×w float64 on the
    keys' grid and not normalised, and `prediction` H×W; for a second one the same names after "second_".
    Beside them `pixels` and `cells` P×2 int64 (y, x) on the queries' grid, `labels` H×W, `class_names`, and
    `provenance`, a JSON text. Queries without a place have `queries` P int64 and `query_names` instead of pixels and
    cells.
    """
    first = views[0]
    pins = range(len(first.pixels))
    if first.capture.query_names is None:
        arrays = {"pixels": np.array(first.pixels), "cells": np.array(first.cells)}
    else:
        names = [first.query_name(pin) for pin in pins]
        arrays = {"queries": np.array([first.query(pin) for pin in pins]), "query_names": np.array(names)}
    for prefix, view in zip(("", "second_"), views, strict=False):
        arrays |= {f"{prefix}{stage}": getattr(view.rows, stage) for stage in view.stages}
        if view.capture.prediction is not None:
            arrays[f"{prefix}prediction"] = view.capture.prediction
    if first.capture.labels is not None:
        arrays["labels"] = first.capture.labels
    if first.capture.label_set is not None:
        arrays["class_names"] = np.array(first.capture.label_set.class_names)
    arrays["provenance"] = np.array(json.dumps(provenance(views)))
    return zipped({f"{name}.npy": _npy(array) for name, array in arrays.items()})


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip file of some files by name, without dates: the same bytes for the same files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, NO_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return content.getvalue()


# --- figures and captions --------------------------------------------------------------------------------------------


def pins_figure(
    views: Sequence[PinnedPixels], scale: Scale, colormap: Colormap, file_format: str, dpi: int = 300
) -> bytes:
    """The pins of one image as a figure file: a row a pin (and source), columns photo, labels, raw … retained.

    views: one a source. colormap: one of `recipe.Look`'s. The figure is as wide as a page; high panels are
    shrunk to fit its height.
    """
    facts = provenance(views)
    subjects, columns = _subjects(views), _columns(views)

    def draw() -> Figure:
        return compose(subjects, columns, None, Attention(), scale, Look(width=PAGE_WIDTH, colormap=colormap))

    return print_figure(draw, facts, file_format, dpi)


def pins_caption(views: Sequence[PinnedPixels], scale: Scale) -> str:
    """A caption for the paper, of the figure that `pins_figure` draws."""
    first = views[0]
    names = [f" {name}" if name else "" for name in first.class_names]
    pins = ", ".join(f"{pin + 1} {_words(first, pin)}{name}" for pin, name in enumerate(names))
    plural = len(first.pixels) > 1
    if first.capture.query_names is None:
        what, where = f"pixel{'s' * plural}", f"{first.capture.name}, (row, column)"
    else:
        what, where = "queries" if plural else "query", first.capture.name
    rows = [(view.capture, Attention(**view.options.as_dict())) for view in views]
    measured = first.measured_against is not None
    sources = dict.fromkeys(view.source for view in views)
    made = " and ".join(f"{source.kind} {source.name} ({source.sha256[:12]})" for source in sources)
    sentences = [
        f"Attention of {len(first.pixels)} {what} in {where}: {pins}.",
        *map_sentences(rows, _columns(views), scale, noise=measured),
        *class_sentences(_subjects(views), _columns(views), Look()),
        f"Made from {made} with denoised-nl {dnl.__version__}.",
    ]
    return " ".join(sentences)


def _words(view: PinnedPixels, pin: int) -> str:
    """What a caption calls a pin: its pixel, or the name of a query without a place."""
    pixel = view.pixels[pin]
    return f"({pixel[0]}, {pixel[1]})" if pixel is not None else f"{view.query_name(pin)}"


def _columns(views: Sequence[PinnedPixels]) -> list[str]:
    pictures = ["photo"]
    if all(view.capture.labels is not None and view.capture.label_set is not None for view in views):
        pictures.append("labels")
    return [*pictures, *own_stages(stage for view in views for stage in view.stages)]


def _subjects(views: Sequence[PinnedPixels]) -> list[Subject]:
    """One row a pin and view, the views of a pin together, titled by the pin and, where there are two, the source."""
    several = len(views) > 1
    subjects = []
    for pin, pixel in enumerate(views[0].pixels):
        number = views[0].query(pin) if pixel is None else None
        title = f"{pin + 1}" if pixel is not None else f"{pin + 1} · {_title(views[0].query_name(pin), 'query')}"
        for place, view in enumerate(views, start=1):
            name = f"{title} · {_title(view.source.name, f'source {place}')}" if several else title
            subjects.append(Subject(view.capture, pixel, name, Attention(**view.options.as_dict()), number))
    return subjects


def _title(name: str | None, number: str) -> str:
    """A name in the title of a row: without its middle where it is long, a number where no font here can write it."""
    name = name or ""
    if not Font(Look().font_family).can_write(name):
        return number
    half = MOST_LETTERS // 2
    return name if len(name) <= MOST_LETTERS else f"{name[:half]}…{name[-half:]}"
