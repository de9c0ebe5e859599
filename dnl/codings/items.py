"""The values and colours in label images one by one, and what they mean by a coding."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dnl.codings.content import GREY, NO_COLOUR, Holding, Kind
from dnl.codings.tables import Coding


class Item(NamedTuple):
    """A value with the packed colour that it is shown in, a grey among them; a colour that is no grey has no value."""

    value: int | None
    colour: int | None
    pixels: int


def items_of(kind: Kind, holding: Holding) -> list[Item]:
    """What label images of one kind hold, item by item."""
    if kind == "grey":
        return [
            Item(value, value * GREY if value < 256 else None, pixels)
            for value, pixels in sorted(holding.counts.items())
        ]
    if kind == "palette":
        return [
            Item(value, None if colour == NO_COLOUR else colour, holding.counts[value])
            for value, colour in sorted(holding.shown)
        ]
    return [
        Item(colour & 255 if colour % GREY == 0 else None, colour, pixels)
        for colour, pixels in sorted(holding.counts.items())
    ]


def meaning(items: Sequence[Item], coding: Coding) -> list[int] | None:
    """The class index of each item (the ignore index among them); None where the coding does not know one of them."""
    known = [class_of(item, coding) for item in items]
    found = [index for index in known if index is not None]
    return found if len(found) == len(items) else None


def class_of(item: Item, coding: Coding) -> int | None:
    """The class index of an item, None where the coding does not know it."""
    if coding.values is not None:
        return None if item.value is None else coding.values.get(item.value)
    return None if item.colour is None else (coding.colours or {}).get(unpacked(item.colour))


def ignored_share(items: Sequence[Item], classes: Sequence[int], none: int) -> float:
    """The share of the pixels that have no class, `none` being the ignore index."""
    ignored = sum(item.pixels for item, index in zip(items, classes, strict=True) if index == none)
    return ignored / max(1, sum(item.pixels for item in items))


def packed(coding: Coding) -> dict[int, int]:
    """Class index of each packed colour that a coding knows."""
    return {(red << 16 | green << 8 | blue): index for (red, green, blue), index in (coding.colours or {}).items()}


def unpacked(colour: int) -> tuple[int, int, int]:
    """(red, green, blue) of a packed colour."""
    return colour >> 16, colour >> 8 & 255, colour & 255


def values_of(items: Iterable[Item]) -> set[int | None]:
    """The values among items."""
    return {item.value for item in items}
