"""A figure as a file for print: the same bytes for the same figure, on every machine whose fonts are the same.

No date enters the file. Fonts come with matplotlib, but for letters that those lack (analysis/printing/fonts.py).
"""

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

import dnl
from analysis.threads import one_thread

FORMATS = ("pdf", "svg", "png")
RESOLUTIONS = (300, 600)
# At which a PDF or SVG file holds the maps' cells; the cells' edges stay sharp in every viewer.
VECTOR_RESOLUTION = 600
TITLE = "Attention of chosen pixels"
SETTINGS: dict[Any, Any] = {
    "pdf.fonttype": 42,  # TrueType fonts, embedded: text stays text, as journals ask
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "denoised-nl",  # names inside the file, which are drawn by chance otherwise
}
# matplotlib's settings belong to the whole process, and the app's users share it.
_SETTINGS_LOCK = threading.RLock()


class PrintedFigure(Figure):
    """A matplotlib figure whose `savefig` writes what `save_figure` writes.

    facts: what it was made of, for the file's metadata; JSON values. title: the file's own.
    """

    facts: Mapping | None = None
    title = TITLE

    def savefig(self, fname, *, transparent=None, **options) -> None:
        """As matplotlib's, with the settings that print needs: fonts are embedded, no date is written."""
        save_figure(self, fname, transparent=transparent, **options)


def save_figure(
    figure: Figure, file, *, style: Mapping | None = None, metadata: Mapping | None = None, **options
) -> None:
    """Write a figure to a file, by name or opened, as one of FORMATS or what else matplotlib knows.

    Fonts are embedded and texts stay texts, no date is written, and the metadata hold the facts of a PrintedFigure and
    the version. options: as in matplotlib's `savefig`; style: further settings of matplotlib.
    """
    named = Path(file).suffix if isinstance(file, str | Path) else ""
    file_format = (options.pop("format", None) or named.removeprefix(".") or FORMATS[-1]).lower()
    dpi = options.pop("dpi", None)
    if dpi is None:
        dpi = RESOLUTIONS[0] if file_format not in FORMATS[:2] else VECTOR_RESOLUTION
    size = figure.get_size_inches()
    with print_settings(style), one_thread():
        own = _metadata(figure, file_format) | dict(metadata or {})
        if file_format == "png" and dpi != "figure":
            # A size of whole dots, a hair more against rounding, since matplotlib cuts the fraction off.
            figure.set_size_inches(*((round(side * dpi) + 1e-6) / dpi for side in size))
        try:
            Figure.savefig(figure, file, format=file_format, dpi=dpi, metadata=own or None, **options)
        finally:
            figure.set_size_inches(*size)


def print_figure(draw: Callable[[], Figure], facts: Mapping, file_format: str, dpi: int = 300) -> bytes:
    """A figure as a file of one of FORMATS: the same bytes for the same figure and facts.

    draw: makes the figure, under the settings that a file needs. facts: what the figure was made of, written into the
    file's metadata as JSON; must hold "version". dpi: of a PNG.
    """
    file = io.BytesIO()
    with print_settings():
        figure = draw()
        if isinstance(figure, PrintedFigure):
            figure.facts = {**facts, **(figure.facts or {}), **facts}  # what was found on the way comes last
        save_figure(figure, file, format=file_format, dpi=dpi if file_format == "png" else None)
    return file.getvalue()


@contextlib.contextmanager
def print_settings(style: Mapping | None = None) -> Iterator[None]:
    """matplotlib's own defaults, SETTINGS and those of `style`, whatever the user's matplotlibrc says."""
    with _SETTINGS_LOCK, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS | dict(style or {}))
        yield


def _metadata(figure: Figure, file_format: str) -> dict[str, Any]:
    """A file's title, what it was made of and by which version, without a date; none for other formats."""
    title = getattr(figure, "title", TITLE)
    facts = dict(getattr(figure, "facts", None) or {})
    facts.setdefault("version", dnl.__version__)
    note, creator = json.dumps(facts), f"denoised-nl {facts['version']}"
    known: dict[str, dict[str, Any]] = {
        "pdf": {"Title": title, "Keywords": note, "Creator": creator, "CreationDate": None},
        "svg": {"Title": title, "Description": note, "Creator": creator, "Date": None},
        "png": {"Title": title, "Description": note, "Software": creator},
    }
    return known.get(file_format, {})
