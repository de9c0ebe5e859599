"""A checkpoint's card: what its weights are, as metadata in the header of their file.

A card says the network's configuration, its classes, the training recipe, data, licence and measured figures.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from dnl.checkpoints.kinds import kind_of
from dnl.classes import LabelSet
from dnl.untrusted import (
    MAX_NAME_LENGTH,
    first_line,
    is_byte,
    is_colour,
    is_name,
    read_json,
    read_json_object,
    shortened,
)

# A header names every tensor and holds the card: this is far more than the largest network needs.
MAX_HEADER_BYTES = 16 * 2**20


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says why and what to do."""


def card_in(content: bytes, path: Path) -> dict:
    """The card in the header of a safetensors file, of which `content` is the beginning. Raises CheckpointError."""
    try:
        (length,) = struct.unpack_from("<Q", content)
        if length > min(len(content) - 8, MAX_HEADER_BYTES):
            raise ValueError("its header is longer than the file, or far too long")
        header = read_json(content[8 : 8 + length])
        metadata = header.get("__metadata__") or {}
        text = metadata.get("card")
    except (struct.error, ValueError, AttributeError) as error:
        raise unreadable(path, content, error) from error
    if not isinstance(text, str):
        raise CheckpointError(f"{path.name} carries no card, so its architecture is unknown; save it with this project")
    try:
        return read_json_object(text, "config", dict)
    except ValueError as error:
        raise CheckpointError(f"the card in {path.name} {error}; save it with this project") from error


def unreadable(path: Path, content: bytes, error: Exception) -> CheckpointError:
    """The error of a file whose header or tensors cannot be read. content: its beginning."""
    if kind := kind_of(content):
        return CheckpointError(f"{path.name} is {kind.words}")
    return CheckpointError(f"{path.name} is not a readable safetensors file ({first_line(error)}); it may be cut off")


def differing_classes(known: Sequence[str], given: Sequence[str]) -> str:
    """How two lists of classes that differ do so: "the same in another order", or the first class that differs."""
    if sorted(known) == sorted(given):
        first = next(i for i, (one, two) in enumerate(zip(known, given, strict=True)) if one != two)
        one, two = known[first], given[first]
        return f"the same classes in another order, class {first} is {one!r} in the first, {two!r} in the second"
    for index, (one, two) in enumerate(zip(known, given, strict=False)):
        if one != two:
            return f"class {index} is {one!r} in the first, {two!r} in the second"
    return f"{len(known)} classes in the first, {len(given)} in the second"


def recipes_of(card: Mapping) -> tuple[Mapping, ...]:
    """The settings of each training that the weights come from, first to last; none where a card says nothing of it.

    A training that starts from a checkpoint's weights keeps what that one's card says, as `began_with`.
    """
    before = card.get("began_with")
    recipes = [*(before if isinstance(before, list) else ()), card.get("recipe")]
    return tuple(recipe for recipe in recipes if isinstance(recipe, dict))


def label_set_of(card: dict) -> LabelSet:
    """The label set of a card that `card_in` has read; raises ValueError when it does not fit the configuration."""
    fields = card.get("label_set")
    if not isinstance(fields, dict):
        raise ValueError("it names no label set")
    names, palette = fields.get("class_names", []), fields.get("palette", [])
    ignore_index, name = fields.get("ignore_index", 255), fields.get("name", "custom")
    if not isinstance(names, list) or not all(map(is_name, (name, *names))):
        raise ValueError(f"the names of its label set must be texts of 1 … {MAX_NAME_LENGTH} characters")
    if len(set(names)) < len(names):
        raise ValueError("its label set has one class name twice")
    if not isinstance(palette, list) or not all(map(is_colour, palette)):
        raise ValueError("its palette must hold [red, green, blue] in 0 … 255")
    if not is_byte(ignore_index):
        raise ValueError(f"its ignore index is {shortened(ignore_index)}; it must be a whole number in 0 … 255")
    label_set = LabelSet(name, tuple(names), tuple((r, g, b) for r, g, b in palette), ignore_index)
    if label_set.num_classes != card["config"].get("num_classes"):
        raise ValueError(
            f"{label_set.num_classes} class names for {shortened(card['config'].get('num_classes'))} classes"
        )
    return label_set
