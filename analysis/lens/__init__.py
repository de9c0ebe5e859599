"""The lens: a browser component that computes and draws the three attention maps of any pixel of one image."""

from analysis.lens.looks import FIRST_LOOK, LOOKS, known_look
from analysis.lens.notebook import NotebookLens, html_or_reason, show
from analysis.lens.payload import (
    MAX_LAYER_BYTES,
    MAX_MAP_CELLS,
    PIN_COLOURS,
    asking_for,
    first_map,
    first_pixel,
    image_id,
    layer_bytes,
    pack_capture,
    pack_layers,
)
from analysis.lens.script import CSS, HTML, PRESENT_HTML, SCRIPT
from analysis.lens.standalone import standalone_html
from analysis.lens.start import starting_pixel
from analysis.lens.state import (
    PIN_LIMIT,
    active_pin,
    chosen_map,
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
    "MAX_LAYER_BYTES",
    "MAX_MAP_CELLS",
    "PIN_COLOURS",
    "PIN_LIMIT",
    "PRESENT_HTML",
    "SCRIPT",
    "NotebookLens",
    "active_pin",
    "asking_for",
    "chosen_map",
    "chosen_pixels",
    "first_map",
    "first_pixel",
    "html_or_reason",
    "image_id",
    "known_choices",
    "known_look",
    "known_pins",
    "layer_bytes",
    "map_options",
    "pack_capture",
    "pack_layers",
    "row_options",
    "show",
    "standalone_html",
    "starting_pixel",
]
