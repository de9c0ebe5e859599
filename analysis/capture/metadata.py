"""The metadata of attention files: JSON text, with every known entry of the right type."""

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import numpy as np

from analysis.capture.brought import MAX_MAP_CELLS
from analysis.capture.containers import CaptureFileError
from analysis.capture.description import IGNORE_INDEX, named_classes
from analysis.capture.suspicions import set_ignoring
from analysis.geometry import PLACEMENTS
from analysis.options import GATES
from dnl.attention import LR_WEIGHTS
from dnl.classes import ADE20K, CAMVID, CITYSCAPES, VOC, LabelSet
from dnl.untrusted import MAX_NAME_LENGTH, read_json, shortened

# Of the format, which docs/attention-files.md describes. 1 had one layer and did not say its number.
FORMAT = 2
# Label sets that need no more than their name, and what stands for classes without names.
PUBLIC_SETS = {known.name: known for known in (CAMVID, CITYSCAPES, VOC, ADE20K)}
NUMBERED = "numbered"
# Each cell of the LR window is a pass over the map.
LARGEST_LR_KERNEL = 15
OF_CLASSES = ("label_set", "class_names", "palette", "ignore_index")
MAX_HEADS = 4096
MAX_NOTES = 50
MAX_NOTE_LENGTH = 1000

_WORDS = f"a text of at most {MAX_NAME_LENGTH} characters"


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME_LENGTH


def _is_colour(value: object) -> bool:
    return _is_list(value, lambda part: _is_whole(part) and 0 <= part <= 255) and len(value) == 3


def _is_list(value: object, fits: Callable[[Any], bool]) -> TypeGuard[list]:
    return isinstance(value, list) and all(map(fits, value))


# What an entry must be, as a check and in words. These may differ from layer to layer:
OF_LAYERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "heads": (
        lambda value: (
            _is_list(value, lambda head: _is_whole(head) and 0 <= head < MAX_HEADS)
            and 0 < len(value) <= MAX_HEADS
            and len(set(value)) == len(value)
        ),
        f"a list of different whole numbers from 0 to {MAX_HEADS - 1}",
    ),
    "gate": (lambda value: value is None or (value in GATES and value != "oracle"), "a gate's name or null"),
    "lr_kernel": (
        lambda value: value is None or (_is_whole(value) and value in range(1, LARGEST_LR_KERNEL + 1, 2)),
        f"an odd number up to {LARGEST_LR_KERNEL}, or null",
    ),
    "lr_weights": (lambda value: value in LR_WEIGHTS, " or ".join(LR_WEIGHTS)),
    "placement": (lambda value: value in PLACEMENTS, " or ".join(PLACEMENTS)),
    "crop": (
        lambda value: value is None or (_is_list(value, _is_whole) and len(value) == 4),
        "a list of four whole numbers: [top, left, height, width]",
    ),
    "query_names": (
        lambda value: value is None or (_is_list(value, _is_name) and len(value) <= MAX_MAP_CELLS),
        f"a list of texts, each of at most {MAX_NAME_LENGTH} characters",
    ),
    "signed": (lambda value: isinstance(value, bool), "true or false"),
    "notes": (
        lambda value: (
            _is_list(value, lambda note: isinstance(note, str) and len(note) <= MAX_NOTE_LENGTH)
            and len(value) <= MAX_NOTES
        ),
        f"a list of at most {MAX_NOTES} texts, each of at most {MAX_NOTE_LENGTH} characters",
    ),
}
OF_FILES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "format": (_is_whole, "a whole number"),
    "name": (_is_name, _WORDS),
    "layer": (_is_name, _WORDS),
    "label_set": (_is_name, _WORDS),
    "class_names": (
        lambda value: _is_list(value, _is_name) and len(value) <= IGNORE_INDEX,
        f"a list of at most {IGNORE_INDEX} texts, each of at most {MAX_NAME_LENGTH} characters",
    ),
    "palette": (lambda value: _is_list(value, _is_colour), "a list of [red, green, blue] in 0 … 255"),
    "ignore_index": (_is_whole, "a whole number"),
    "coding": (_is_name, _WORDS),
    "left_out": (
        lambda value: (
            isinstance(value, dict)
            and len(value) <= MAX_HEADS
            and all(
                _is_name(name) and isinstance(reason, str) and len(reason) <= MAX_NOTE_LENGTH
                for name, reason in value.items()
            )
        ),
        f"an object of texts, each of at most {MAX_NOTE_LENGTH} characters",
    ),
    "layers": (
        lambda value: isinstance(value, dict) and all(isinstance(entries, dict) for entries in value.values()),
        "an object that has an object for each layer",
    ),
}


def parsed(text: str) -> dict[str, Any]:
    """The metadata in a text. Raises CaptureFileError for an entry of the wrong type, and for a later format."""
    try:
        metadata = read_json(text)
    except ValueError as error:
        raise CaptureFileError("The attention file's metadata is not readable as JSON: write an object.") from error
    if not isinstance(metadata, dict):
        raise CaptureFileError("The attention file's metadata is no JSON object: write {…}.")
    _check(metadata, OF_FILES | OF_LAYERS)
    for layer, entries in metadata.get("layers", {}).items():
        _check(entries, OF_LAYERS, f" of layer {shortened(layer)}")
    if not 1 <= metadata.get("format", 1) <= FORMAT:
        raise CaptureFileError(
            f"The attention file is of format {shortened(metadata['format'])}, and formats up to {FORMAT} are read: "
            "install a later version."
        )
    return metadata


def _check(entries: dict, checks: dict[str, tuple[Callable[[Any], bool], str]], of: str = "") -> None:
    for name, (fits, words) in checks.items():
        if name in entries and not fits(entries[name]):
            raise CaptureFileError(
                f"The attention file's metadata{of} has {name} {shortened(entries[name])}: it must be {words}."
            )


def said_instead(
    metadata: dict[str, Any],
    *,
    coding: str | None = None,
    label_set: str | None = None,
    class_names: Sequence[str] | None = None,
    ignore_index: int | None = None,
) -> dict[str, Any]:
    """The metadata with what somebody says of the labels in place of the file's own words; None says nothing.

    Names, or a label set that needs none, take the place of all that the file says of its classes. Raises
    CaptureFileError for what cannot be.
    """
    names = None if class_names is None else list(class_names)
    said = {"coding": coding, "label_set": label_set, "class_names": names, "ignore_index": ignore_index}
    said = {name: value for name, value in said.items() if value is not None}
    if "class_names" in said or label_set in (*PUBLIC_SETS, NUMBERED):
        metadata = {name: value for name, value in metadata.items() if name not in OF_CLASSES}
    _check(said, OF_FILES)
    if names is not None and (not names or not all(names) or len(set(names)) < len(names)):
        raise CaptureFileError("The class names cannot be used: give each class a name of its own, at least one.")
    return metadata | said


def label_set_of(metadata: dict[str, Any], unnamed: Sequence[np.ndarray] = ()) -> LabelSet | None:
    """The classes that the metadata names; None where it names none, and they are numbered without a doubt.

    unnamed: labels and predictions whose number of classes nothing else says. Raises CaptureFileError where their last
    value may be a class or none, and ValueError for what does not fit.
    """
    if "class_names" not in metadata:
        return _public_or_numbered(metadata, unnamed)
    named = named_classes(metadata["class_names"], metadata.get("ignore_index", IGNORE_INDEX))
    palette = metadata.get("palette", named.palette)
    return LabelSet(
        metadata.get("label_set", named.name), named.class_names, tuple(map(tuple, palette)), named.ignore_index
    )


def _public_or_numbered(metadata: dict[str, Any], unnamed: Sequence[np.ndarray]) -> LabelSet | None:
    name, ignored = metadata.get("label_set"), metadata.get("ignore_index", IGNORE_INDEX)
    if (known := PUBLIC_SETS.get(name or "")) is not None:
        return known
    if ignored != IGNORE_INDEX and unnamed:
        highest = max((int(held.max()) for labels in unnamed if (held := labels[labels != ignored]).size), default=0)
        return named_classes([f"class {index}" for index in range(min(highest, IGNORE_INDEX - 1) + 1)], ignored)
    doubtful = set_ignoring(unnamed)
    if doubtful is None:
        return None
    last = doubtful.ignore_index
    if name == NUMBERED:
        return named_classes([f"class {index}" for index in range(last + 1)])
    raise CaptureFileError(
        f"The attention file's labels reach to {last}, which is no class in {doubtful.name}'s labels: say in the "
        f'metadata whose they are ("label_set": "{doubtful.name}"), or that {last} is a class ("{NUMBERED}").',
        label_sets=(doubtful.name, NUMBERED),
    )


def metadata_of(label_set: LabelSet) -> dict[str, Any]:
    """The entries that name these classes."""
    return {
        "label_set": label_set.name,
        "class_names": label_set.class_names,
        "palette": label_set.palette,
        "ignore_index": label_set.ignore_index,
    }
