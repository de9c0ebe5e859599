"""A figure as a file for print: the same bytes for the same figure, on every machine.

No date enters the file, and only fonts that come with matplotlib are used.
"""

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from analysis.threads import one_thread

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


@contextlib.contextmanager
def _print_settings() -> Iterator[None]:
    """matplotlib's own defaults and SETTINGS, whatever the user's matplotlibrc says."""
    with _SETTINGS_LOCK, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield
