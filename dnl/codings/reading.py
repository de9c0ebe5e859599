"""A reading: the coding of each kind of label image, and the class indices that come of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dnl.classes import LabelSet
from dnl.codings.choice import CodingError, choose, unknown
from dnl.codings.content import GREY, Content, Holding, Kind, LabelPixels, content_of, packed_colours, together
from dnl.codings.items import class_of, items_of, meaning, packed
from dnl.codings.tables import Coding, codings_of


@dataclass(frozen=True)
class Reading:
    """The coding of each kind of label image that was looked at; `label_set` is what they are read as."""

    label_set: LabelSet
    coding_of: Mapping[Kind, Coding]

    @property
    def words(self) -> str:
        """The codings' words, for "read as …"."""
        return " and ".join(dict.fromkeys(coding.words for coding in self.coding_of.values()))


def recognise(
    of_kind: Mapping[Kind, Holding], label_set: LabelSet, *, expected: str | None = None, coding: str | None = None
) -> Reading:
    """The reading of what label images hold, each kind by its own coding.

    expected: the key of the coding that files of values have by their place or name; another is never taken for it.
    coding: the key of the one that somebody named; kinds of files that it is not about are recognised all the same.
    Raises CodingError for values or colours that mean nothing, and where several readings are possible; ValueError
    for an unknown key.
    """
    codings = codings_of(label_set)
    named = None if coding is None else _with_key(codings, coding, label_set)
    usual = None if expected is None else _with_key(codings, expected, label_set)
    return Reading(
        label_set,
        {
            kind: choose(kind, items_of(kind, holding), label_set, codings, usual, named)
            for kind, holding in of_kind.items()
        },
    )


def fitting(of_kind: Mapping[Kind, Holding], label_set: LabelSet) -> tuple[Coding, ...]:
    """All codings of a label set by which label images can be read, whatever speaks against one of them."""
    items = [item for kind, holding in of_kind.items() for item in items_of(kind, holding)]
    return tuple(coding for coding in codings_of(label_set) if meaning(items, coding) is not None)


def misfit(content: Content, reading: Reading) -> CodingError | None:
    """What is wrong with a label image that the reading does not fit; None where it does.

    Raises KeyError where the reading has no coding for its kind.
    """
    (holding,) = together([content]).of_kind.values()
    coding, items = reading.coding_of[content.kind], items_of(content.kind, holding)
    if meaning(items, coding) is not None:
        return None
    return unknown(items, coding, reading.label_set, codings_of(reading.label_set))


def class_pixels(of_kind: Mapping[Kind, Holding], reading: Reading) -> dict[int, int]:
    """How many pixels each class index has (the ignore index among them) in label images that the reading fits."""
    counts: dict[int, int] = {}
    for kind, holding in of_kind.items():
        coding = reading.coding_of[kind]
        seen: set[int | None] = set()
        for item in items_of(kind, holding):
            index = class_of(item, coding)
            if index is not None and (kind == "colour" or item.value not in seen):
                counts[index] = counts.get(index, 0) + item.pixels
            seen.add(item.value)
    return counts


def decode(label: LabelPixels, reading: Reading) -> np.ndarray:
    """Class indices H×W of a label image, uint8, or int64 where the label set's ignore index is no byte.

    Raises CodingError for a value or colour that the coding of its kind does not know, and KeyError where the reading
    has no coding for its kind.
    """
    coding, label_set = reading.coding_of[label.kind], reading.label_set
    found = None
    if coding.values is not None:
        values = label.pixels if label.kind != "colour" else label.pixels[..., 0]
        if label.kind != "colour" or (label.pixels == values[..., None]).all():
            found = _looked_up(values, coding.values, label_set)
    elif label.kind == "colour":
        found = _looked_up_colours(label.pixels, packed(coding), label_set)
    else:
        known = packed(coding)
        shown = GREY * np.arange(256) if label.palette is None else packed_colours(label.palette)
        found = _looked_up(
            label.pixels,
            {value: known[int(colour)] for value, colour in enumerate(shown) if int(colour) in known},
            label_set,
        )
    if found is None:
        error = misfit(content_of(label), reading)
        assert error is not None
        raise error
    return found


def _looked_up(values: np.ndarray, class_of: Mapping[int, int], label_set: LabelSet) -> np.ndarray | None:
    """The class of each value; None where one has none."""
    size = 256 if values.dtype == np.uint8 else 1 << 16
    known = [value for value in class_of if 0 <= value < size]
    legal, lookup = np.zeros(size, bool), np.zeros(size, _index_type(label_set))
    legal[known] = True
    lookup[known] = [class_of[value] for value in known]
    return lookup[values] if legal[values].all() else None


def _looked_up_colours(pixels: np.ndarray, class_of: Mapping[int, int], label_set: LabelSet) -> np.ndarray | None:
    codes = np.array(sorted(class_of), np.int32)
    colours = packed_colours(pixels)
    places = np.searchsorted(codes, colours).clip(max=len(codes) - 1)
    if (codes[places] != colours).any():
        return None
    return np.array([class_of[int(code)] for code in codes], _index_type(label_set))[places]


def _index_type(label_set: LabelSet) -> type[np.integer]:
    """What holds the label set's classes and its ignore index."""
    return np.uint8 if 0 <= label_set.ignore_index <= 255 else np.int64


def _with_key(codings: tuple[Coding, ...], key: str, label_set: LabelSet) -> Coding:
    for coding in codings:
        if coding.key == key:
            return coding
    raise ValueError(f"{label_set.name} has no coding {key!r}; choose one of {', '.join(c.key for c in codings)}")
