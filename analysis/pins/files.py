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
from analysis.figures import PAGE_WIDTH, Attention, Colormap, Look, Scale, Subject, compose, map_sentences, print_figure
from analysis.files.tables import csv_text
from analysis.options import OPTION_NAMES, STAGES, option_cells
from analysis.pins.measured import PIN_METRICS, PinnedPixels

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
# The earliest that a zip file can hold; no file tells when it was made.
NO_DATE = (1980, 1, 1, 0, 0, 0)


# --- what was made of what -------------------------------------------------------------------------------------------


def provenance(views: Sequence[PinnedPixels]) -> dict:
    """What the views come from, as JSON values: version, sources and images with their SHA-256, each view's options."""
    return {
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


def options_of(view: PinnedPixels) -> dict:
    """How the view's maps were computed: gate and lr_kernel None for no GR and no LR."""
    return {"temperature": view.options.temperature, **view.options.as_dict()}


# --- numbers ---------------------------------------------------------------------------------------------------------


def pins_csv(views: Sequence[PinnedPixels]) -> str:
    """One row a view, pin and stage, the columns of HEADER. What is undefined, or not there, is empty."""
    records = [_record(view, pin, stage) for view in views for pin in range(len(view.pixels)) for stage in STAGES]
    return csv_text(HEADER, [[record[name] for name in HEADER] for record in records])


def pins_json(views: Sequence[PinnedPixels]) -> str:
    """`provenance`, and every view's pins with their figures by stage; null: undefined, or not there."""
    pins = [
        {
            "image": view.capture.name,
            "source": view.source.name,
            "pin": pin + 1,
            "pixel": list(view.pixels[pin]),
            "cell": list(view.cells[pin]),
            "class": view.class_names[pin],
            "measured_against": view.measured_against,
            "stages": {stage: view.figures(pin, stage) | {"emptied": view.emptied(pin, stage)} for stage in STAGES},
        }
        for view in views
        for pin in range(len(view.pixels))
    ]
    return json.dumps({"provenance": provenance(views), "pins": pins}, indent=2, ensure_ascii=False) + "\n"


def _record(view: PinnedPixels, pin: int, stage: str) -> dict:
    return {
        "image": view.capture.name,
        "image_sha256": view.capture.image_sha256,
        "source": view.source.name,
        "source_sha256": view.source.sha256,
        "pin": pin + 1,
        "y": view.pixels[pin][0],
        "x": view.pixels[pin][1],
        "cell_row": view.cells[pin][0],
        "cell_column": view.cells[pin][1],
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

    For the first source `raw`, `rectified`, `retained`, each P×h×w float64 and not normalised, and `prediction` H×W;
    for a second one the same names after "second_". Beside them `pixels` and `cells` P×2 int64 (y, x), `labels` H×W,
    `class_names`, and `provenance`, a JSON text.
    """
    first = views[0]
    arrays = {"pixels": np.array(first.pixels), "cells": np.array(first.cells)}
    for prefix, view in zip(("", "second_"), views, strict=False):
        arrays |= {f"{prefix}{stage}": getattr(view.rows, stage) for stage in STAGES}
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
    pixels = ", ".join(
        f"{number} ({y}, {x}){f' {name}' if name else ''}"
        for number, ((y, x), name) in enumerate(zip(first.pixels, first.class_names, strict=True), start=1)
    )
    rows = [(view.capture, Attention(**view.options.as_dict())) for view in views]
    measured = first.measured_against is not None
    sources = dict.fromkeys(view.source for view in views)
    made = " and ".join(f"{source.kind} {source.name} ({source.sha256[:12]})" for source in sources)
    sentences = [
        f"Attention of {len(first.pixels)} pixel{'s' * (len(first.pixels) > 1)} in {first.capture.name}, "
        f"(row, column): {pixels}.",
        *map_sentences(rows, _columns(views), scale, noise=measured),
        f"Made from {made} with denoised-nl {dnl.__version__}.",
    ]
    return " ".join(sentences)


def _columns(views: Sequence[PinnedPixels]) -> list[str]:
    pictures = ["photo"]
    if all(view.capture.labels is not None and view.capture.label_set is not None for view in views):
        pictures.append("labels")
    return [*pictures, *STAGES]


def _subjects(views: Sequence[PinnedPixels]) -> list[Subject]:
    """One row a pin and view, the views of a pin together, titled by the pin and, where there are two, the source."""
    several = len(views) > 1
    return [
        Subject(
            view.capture,
            pixel,
            f"{pin + 1} · {view.source.name}" if several else f"{pin + 1}",
            Attention(**view.options.as_dict()),
        )
        for pin, pixel in enumerate(views[0].pixels)
        for view in views
    ]
