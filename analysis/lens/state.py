"""What the lens reports of its user's pins, choices and look, read against the capture that it shows.

Such values come from outside, also from links: whatever is not as described here is ignored, never trusted.

    pins     image id -> [[y, x], …], at most PIN_LIMIT pixels, their order is their number; [0, number] stands for a
             query without a place
    active   image id -> which of its pins is shown, counted from 0
    choices  "gate": "off" or one of GATES; "retention": one of RETENTIONS; "kernel": one of KERNELS;
             "temperature": within TEMPERATURES. None, or nothing, means the model's own (temperature 1)
    maps     image id -> {"layer": name, "head": number or "mean"}, where a buffer holds several
    look     how the lens draws: keys and values as in `analysis.lens.looks`
"""

from typing import Any

from analysis.capture import Capture, Layers
from analysis.lens.looks import Between, OneOf, checked, is_number
from analysis.lens.payload import PIN_COLOURS, first_map, has_mean, image_id
from analysis.lens.start import places_of, starting_pixel
from analysis.options import DEFAULT_LR_KERNEL, GATES, MapOptions

PIN_LIMIT = len(PIN_COLOURS)
RETENTIONS = ("off", "learnt", "box")
KERNELS = (3, 5, 7)
TEMPERATURES = (0.1, 10.0)  # the lowest and the highest
CHOICES: dict[str, OneOf | Between] = {
    "gate": OneOf(("off", *GATES)),
    "retention": OneOf(RETENTIONS),
    "kernel": OneOf(KERNELS),
    "temperature": Between(*TEMPERATURES),
}


def known_pins(pins: Any) -> dict[str, list[tuple[int, int]]]:
    """The pins (y, x) of every image, without what is none: at most PIN_LIMIT different pixels an image."""
    if not isinstance(pins, dict):
        return {}
    return {image: _pixels(found) for image, found in pins.items() if isinstance(image, str)}


def active_pin(active: Any, image: str, count: int) -> int:
    """Which of the `count` pins of an image is shown, from 0; the first where nothing known is said of it."""
    found: Any = active.get(image) if isinstance(active, dict) else None
    return int(found) if is_number(found) and found == int(found) and 0 <= found < count else 0


def known_choices(choices: Any) -> dict[str, Any]:
    """The choices that have a meaning; nothing for the rest."""
    return checked(choices, CHOICES)


def chosen_map(layers: Layers, image: str, maps: Any) -> tuple[str, int | str]:
    """The layer and head that are chosen on this image (`image_id`); those that the lens begins with where there are
    no such ones."""
    chosen = maps.get(image) if isinstance(maps, dict) else None
    name: Any
    head: Any
    name, head = (chosen.get("layer"), chosen.get("head")) if isinstance(chosen, dict) else (None, None)
    for layer in layers:
        is_head = isinstance(head, int) and not isinstance(head, bool) and head in layer.heads
        if layer.name == name and (is_head or (head == "mean" and has_mean(layer))):
            return layer.name, head
    return first_map(layers)


def chosen_pixels(capture: Capture, pins: Any, start: tuple[int, int] | None = None) -> list[tuple[int, int]]:
    """The pixels (y, x) that are pinned on this image, in the order of their numbers; else the starting pixel alone.

    Those alone that the model saw. (0, number) of queries without a place. start: `first_pixel` of the lens's buffer,
    which may hold other maps too; None where it holds the capture alone.
    """
    top, left, height, width = places_of([capture])
    found = known_pins(pins).get(image_id(capture), [])
    inside = [(y, x) for y, x in found if top <= y < top + height and left <= x < left + width]
    return inside or [starting_pixel(capture) if start is None else start]


def row_options(capture: Capture, choices: Any) -> dict[str, Any]:
    """`map_options` as keyword arguments of `attention_rows`."""
    return map_options(capture, choices).as_dict()


def map_options(capture: Capture, choices: Any) -> MapOptions:
    """How the maps are computed under the user's choices; the model's own where one cannot be had."""
    chosen = known_choices(choices)
    gate, kernel, weights = capture.gate, capture.lr_kernel, capture.lr_weights
    asked, retention = chosen.get("gate"), chosen.get("retention")
    apart = capture.key_size is not None
    if asked == "off" or apart:  # GR compares the cells of queries and keys
        gate = None
    elif asked is not None and (capture.class_probs if asked != "oracle" else capture.labels) is not None:
        gate = asked
    if retention == "off" or (apart and retention != "box" and weights == "learnt"):
        kernel = None
    elif retention == "box" or (retention == "learnt" and capture.query is not None and not apart):
        kernel, weights = capture.lr_kernel or DEFAULT_LR_KERNEL, retention
    if kernel is not None and "kernel" in chosen:
        kernel = int(chosen["kernel"])
    # A finished map has no scores that a temperature could divide.
    temperature = float(chosen.get("temperature", 1.0)) if capture.query is not None else 1.0
    return MapOptions(gate, kernel, weights, temperature)


def _pixels(found: Any) -> list[tuple[int, int]]:
    if not isinstance(found, list | tuple):
        return []
    pixels = [
        (int(pixel[0]), int(pixel[1]))
        for pixel in found
        if isinstance(pixel, list | tuple)
        and len(pixel) == 2
        and all(is_number(side) and side == int(side) for side in pixel)
    ]
    return list(dict.fromkeys(pixels))[:PIN_LIMIT]
