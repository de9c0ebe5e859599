"""The lens: a browser component that computes and draws the three attention maps of any pixel of one image."""

from analysis.lens.payload import (
    CSS,
    HTML,
    MAX_MAP_CELLS,
    SCRIPT,
    asking_for,
    image_id,
    pack_capture,
    starting_pixel,
)
from analysis.lens.state import chosen_pixel, row_options

__all__ = [
    "CSS",
    "HTML",
    "MAX_MAP_CELLS",
    "SCRIPT",
    "asking_for",
    "chosen_pixel",
    "image_id",
    "pack_capture",
    "row_options",
    "starting_pixel",
]
