"""The lens: a browser component that computes and draws the three attention maps of any pixel of one image."""

from analysis.lens.looks import FIRST_LOOK, LOOKS, known_look
from analysis.lens.payload import MAX_MAP_CELLS, PIN_COLOURS, asking_for, image_id, pack_capture
from analysis.lens.script import CSS, HTML, PRESENT_HTML, SCRIPT
from analysis.lens.standalone import standalone_html
from analysis.lens.start import starting_pixel
from analysis.lens.state import (
    PIN_LIMIT,
    active_pin,
    chosen_pixels,
    known_choices,
    known_pins,
    map_options,
    row_options,
)

__all__ = [
    "CSS",
    "FIRST_LOOK",
    "HTML",
    "LOOKS",
    "MAX_MAP_CELLS",
    "PIN_COLOURS",
    "PIN_LIMIT",
    "PRESENT_HTML",
    "SCRIPT",
    "active_pin",
    "asking_for",
    "chosen_pixels",
    "image_id",
    "known_choices",
    "known_look",
    "known_pins",
    "map_options",
    "pack_capture",
    "row_options",
    "standalone_html",
    "starting_pixel",
]
