"""How the lens draws: the values that each entry of its look may have, and how it looks before anyone changes it.

A check is called with a value, which may be anything; its fields say to the browser what it checks.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.lens.payload import COLORMAPS
from analysis.options import CLIP_PERCENTILE


@dataclass(frozen=True)
class OneOf:
    """Knows the values that it names, numbers and texts, or switches."""

    values: tuple

    def __call__(self, value: Any) -> bool:
        # A switch is no number here, though 1 == True.
        return isinstance(value, str | int | float) and any(
            isinstance(value, bool) == isinstance(known, bool) and value == known for known in self.values
        )


@dataclass(frozen=True)
class Between:
    """Knows the finite numbers from `low` to `high`."""

    low: float
    high: float

    def __call__(self, value: Any) -> bool:
        return is_number(value) and self.low <= value <= self.high


def is_number(value: Any) -> bool:
    """Whether it is a finite number, and no switch."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


SWITCH = OneOf((False, True))
LOOKS: dict[str, OneOf | Between] = {
    "overlay": OneOf(("photo", "labels", "prediction")),
    "scale": OneOf(("share", "log", "weight")),  # share: in multiples of an even spread
    # One colour scale for all maps; one for each, from 0; or one for each, from its lowest value.
    "range": OneOf(("shared", "each", "own")),
    "clip": Between(90, 100),  # percentile of the values at which the colours end
    "colormap": OneOf(tuple(COLORMAPS)),
    "outline": SWITCH,
    "predictedOutline": SWITCH,
    "hollows": SWITCH,
    "difference": SWITCH,
    "photoOpacity": Between(0, 0.8),
    "direction": OneOf(("row", "column")),
}
FIRST_LOOK: dict[str, Any] = {
    "overlay": "photo",
    "scale": "share",
    "range": "shared",
    "clip": CLIP_PERCENTILE,
    "colormap": next(iter(COLORMAPS)),
    "outline": True,
    "predictedOutline": False,
    "hollows": False,
    "difference": False,
    "photoOpacity": 0.3,
    "direction": "row",
}


def known_look(look: Any) -> dict[str, Any]:
    """The part of a look that has a meaning; nothing for the rest."""
    return checked(look, LOOKS)


def checked(values: Any, checks: Mapping[str, Callable[[Any], bool]]) -> dict[str, Any]:
    """The entries of `values`, whatever it is, that a check of their name knows."""
    if not isinstance(values, dict):
        return {}
    return {name: values[name] for name, knows in checks.items() if name in values and knows(values[name])}
