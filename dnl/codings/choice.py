"""Which coding what label images hold is read by: the rules, and the sentences where no rule decides.

A coding is a candidate where it knows every value (or colour) that is there. Values are looked up as values and colours
as colours; grey values that no coding of values knows may be colours, and colours that are all grey may be values. The
values of a palette image count as long as its palette does not show one of them in the colour of another class. A sole
candidate is taken, and the first of several that mean the same. Whatever is left is asked.
"""

from collections.abc import Sequence

from dnl.classes import LabelSet
from dnl.codings.content import GREY, Kind
from dnl.codings.items import Item, class_of, ignored_share, meaning, unpacked, values_of
from dnl.codings.tables import COMMON_IGNORE_INDEX, Coding

# Raw ids that leave more than this share of the pixels without a class give way to a coding that leaves under half of
# that.
MOST_IGNORED = 0.5
SHOWN_ITEMS = 4
# Values between 0 and 255 in such number are no classes but smooth borders.
MANY_VALUES = 8


class CodingError(ValueError):
    """Label images that cannot be read, or not before somebody says how.

    The message is what they hold and what to do: a clause that follows "… holds". choices: the codings by which they
    can be read once one is named. found, hint: of values that are no classes the beginning and the end of that clause,
    between which a caller may say in its own words what the classes are.
    """

    def __init__(self, clause: str, choices: Sequence[Coding] = (), *, found: str = "", hint: str = ""):
        super().__init__(clause)
        self.choices, self.found, self.hint = tuple(choices), found, hint


class CodingQuestion(CodingError):
    """Label images that several codings fit, or one that is seldom meant: one must be named, or the files be mended."""


def choose(
    kind: Kind,
    items: Sequence[Item],
    label_set: LabelSet,
    codings: Sequence[Coding],
    expected: Coding | None,
    named: Coding | None,
) -> Coding:
    """The coding of label images of one kind that hold `items`. Raises CodingError; `recognise` says the rest."""
    if named is not None and _is_about(named, kind, items):
        if meaning(items, named) is None:
            raise unknown(items, named, label_set, codings)
        return named
    fitting = [coding for coding in codings if meaning(items, coding) is not None]
    by_value = [coding for coding in fitting if coding.values is not None]
    by_colour = [coding for coding in fitting if coding.colours is not None]
    if kind == "palette":
        by_value = _with_the_palette(items, by_value, by_colour, label_set, codings)
    mask = label_set.num_classes > 1 and values_of(items) == {0, COMMON_IGNORE_INDEX}
    if mask:
        by_value = [coding for coding in by_value if coding.asked]
    first, second = (by_colour, by_value) if kind == "colour" else (by_value, by_colour)
    candidates = [coding for coding in first if not coding.asked] or [c for c in second if not c.asked]
    if not candidates and mask:
        raise _mask(by_value)
    if kind == "colour" and not by_colour and (None in values_of(items) or _shared(items, codings)):
        raise unknown(items, codings[1], label_set, codings)
    if expected is not None and kind == "palette" and candidates and candidates[0].values is None:
        raise (
            unknown(items, expected, label_set, codings)
            if meaning(items, expected) is None
            else _several(items, [expected, candidates[0]])
        )
    if expected is not None and not any(coding.colours for coding in candidates):
        return _as_expected(items, by_value, expected, label_set, codings)
    if not candidates:
        raise unknown(items, codings[0], label_set, codings)
    return _only(kind, items, candidates, label_set)


def _is_about(coding: Coding, kind: Kind, items: Sequence[Item]) -> bool:
    """Whether files of this kind can have a named coding at all."""
    if coding.values is None:
        return kind != "grey"
    return kind != "colour" or all(item.value is not None for item in items)


def _only(kind: Kind, items: Sequence[Item], candidates: Sequence[Coding], label_set: LabelSet) -> Coding:
    """The sole candidate, or the first of several that mean the same. Raises CodingError."""
    left = [coding for coding in candidates if not values_of(items) & coding.rare] or list(candidates)
    if kind == "palette":
        left = [coding for coding in left if _agrees(items, coding, label_set)] or left
    different = _different(left, items)
    if len(different) > 1:
        raise _several(items, different)
    return left[0]


def _different(codings: Sequence[Coding], items: Sequence[Item]) -> list[Coding]:
    """The first of the codings for each meaning."""
    meanings = [meaning(items, coding) for coding in codings]
    return [coding for index, coding in enumerate(codings) if meanings[index] not in meanings[:index]]


def _as_expected(
    items: Sequence[Item],
    by_value: Sequence[Coding],
    expected: Coding,
    label_set: LabelSet,
    codings: Sequence[Coding],
) -> Coding:
    """The expected coding. Raises CodingError where it does not fit, or another one fits much better."""
    classes = meaning(items, expected)
    if classes is None:
        raise unknown(items, expected, label_set, codings)
    none = label_set.ignore_index
    share = ignored_share(items, classes, none)
    without = {item.value for item, index in zip(items, classes, strict=True) if index == none} - {COMMON_IGNORE_INDEX}
    for coding in by_value:
        other = meaning(items, coding)
        if coding.asked or coding.key == expected.key or other is None or values_of(items) & coding.rare:
            continue
        many = share > MOST_IGNORED and len(without) > 1 and 2 * ignored_share(items, other, none) < share
        if values_of(items) & expected.rare or many:
            choices = [coding, expected]
            raise CodingQuestion(
                f"values that fit {coding.words} better than {expected.words}, by which {share:.0%} of the pixels "
                f"would have no class: {_say(choices)}",
                choices,
            )
    return expected


# --- palettes --------------------------------------------------------------------------------------------------------


def _with_the_palette(
    items: Sequence[Item],
    by_value: list[Coding],
    by_colour: list[Coding],
    label_set: LabelSet,
    codings: Sequence[Coding],
) -> list[Coding]:
    """The codings of values that the palette does not contradict; none where its colours tell the classes.

    Raises CodingError where values and colours tell different classes, and neither can be right by chance.
    """
    usual = [coding for coding in by_value if not coding.asked]
    agreeing = [coding for coding in by_value if _contradiction(items, coding, label_set, codings) is None]
    if not usual or not set(usual).isdisjoint(agreeing):
        return agreeing
    if by_colour:
        if _is_common_palette(items):
            raise _several(items, [usual[0], by_colour[0]])
        return agreeing
    if _is_common_palette(items):
        return by_value
    found = _contradiction(items, usual[0], label_set, codings)
    assert found is not None
    value, index, shown = found
    own = label_set.class_names[index] if 0 <= index < label_set.num_classes else "no class"
    raise CodingQuestion(
        f"a palette that shows the value {value} in the colour of {label_set.class_names[shown]}, where {value} is "
        f"{own} by {usual[0].words}: save grey values, or {_say(by_value)}",
        by_value,
    )


def _contradiction(
    items: Sequence[Item], coding: Coding, label_set: LabelSet, codings: Sequence[Coding]
) -> tuple[int | None, int, int] | None:
    """The first value that is shown in the colour of a class other than its own: the value, its class, the other."""
    for item in items:
        index, shown = class_of(item, coding), _shown_class(item, label_set, codings)
        if index is not None and shown is not None and index != shown:
            return item.value, index, shown
    return None


def _shown_class(item: Item, label_set: LabelSet, codings: Sequence[Coding]) -> int | None:
    """The class whose colour the palette gives to a value; None for any other colour."""
    for coding in codings:
        if coding.colours is not None:
            index = class_of(item, coding)
            if index is not None and index != label_set.ignore_index:
                return index
    return None


def _agrees(items: Sequence[Item], coding: Coding, label_set: LabelSet) -> bool:
    """Whether a palette shows a value in the very colour of its class."""
    return any(
        item.colour is not None
        and (index := class_of(item, coding)) is not None
        and 0 <= index < label_set.num_classes
        and unpacked(item.colour) == tuple(label_set.palette[index])
        for item in items
    )


def _is_common_palette(items: Sequence[Item]) -> bool:
    """Whether every value has its grey or its colour in VOC's palette, which tools give to files of any classes."""
    return all(item.value is not None and item.colour in (item.value * GREY, _voc_colour(item.value)) for item in items)


def _voc_colour(value: int) -> int:
    """The packed colour of a value: its bits, spread over the channels from the highest bit down."""
    channels = [sum((value >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)]
    return channels[0] << 16 | channels[1] << 8 | channels[2]


# --- sentences -------------------------------------------------------------------------------------------------------


def unknown(items: Sequence[Item], coding: Coding, label_set: LabelSet, codings: Sequence[Coding] = ()) -> CodingError:
    """The error of values or colours that a coding does not know, with the codings that would."""
    strange = [item for item in items if class_of(item, coding) is None]
    choices = _different([other for other in codings if other.key != coding.key and meaning(items, other)], items)
    they = "it" if len(strange) == 1 else "they"
    hint = f"; {they} may be {_either(choices)}: {_say(choices)}" if choices else ""
    if coding.values is not None and all(item.value is not None for item in strange):
        values = [item.value for item in strange]
        if len(values) > MANY_VALUES and not choices:
            hint = "; so many come of smooth borders or a photo: save class indices, without smoothing"
        found = _some(values, "value")
        clause = f"{found}, which {_is(values)} no class of {label_set.name} {_legal(coding, label_set)}{hint}"
        return CodingError(clause, choices, found=found, hint=hint)
    shared = _shared(strange, [coding])
    if shared:
        colour, first, second = shared
        return CodingError(
            f"the colour {colour}, which {label_set.name} has for {first} and for {second}: save class indices in grey",
            choices,
        )
    colours = [unpacked(item.colour) for item in strange if item.colour is not None]
    return CodingError(
        f"{_some(colours, 'colour')}, which {_is(colours)} no class of {label_set.name}"
        + (hint or ": use its colours (black for none) without smoothing, or save class indices in grey"),
        choices,
    )


def _shared(items: Sequence[Item], codings: Sequence[Coding]) -> tuple[tuple[int, int, int], str, str] | None:
    """The first colour that two classes have, with their names."""
    for coding in codings:
        for item in items:
            if item.colour is not None and unpacked(item.colour) in coding.shared:
                return unpacked(item.colour), *coding.shared[unpacked(item.colour)]
    return None


def _several(items: Sequence[Item], choices: Sequence[Coding]) -> CodingError:
    values = [unpacked(item.colour or 0) if item.value is None else item.value for item in items]
    noun = "colour" if items[0].value is None else "value"
    return CodingQuestion(f"{_some(values, noun)}, which may be {_either(choices)}: {_say(choices)}", choices)


def _mask(choices: Sequence[Coding]) -> CodingError:
    masks = [coding for coding in choices if coding.key == "mask"]
    return CodingQuestion(
        "0 and 255 only, and 255 means ignored: save the object as 1" + (f", or {_say(masks)}" if masks else ""), masks
    )


def _legal(coding: Coding, label_set: LabelSet) -> str:
    """The values of the classes and of none, in brackets."""
    values = coding.values or {}
    classes = sorted(value for value, index in values.items() if index != label_set.ignore_index)
    none = [value for value, index in values.items() if index == label_set.ignore_index and value not in classes]
    words = f"{classes[0]} … {classes[-1]}" if classes else "none"
    if len(none) <= 3:
        words += f"; {' or '.join(map(str, dict.fromkeys(sorted(none))))} for none"
    return f"({words})"


def _say(choices: Sequence[Coding]) -> str:
    return "name the coding " + " or ".join(f'"{coding.key}"' for coding in choices)


def _either(choices: Sequence[Coding]) -> str:
    return " or ".join(coding.words for coding in choices)


def _some(found: Sequence, noun: str) -> str:
    shown = ", ".join(map(str, found[:SHOWN_ITEMS]))
    rest = f" and {len(found) - SHOWN_ITEMS} more" if len(found) > SHOWN_ITEMS else ""
    return f"the {noun}{'s' if len(found) > 1 else ''} {shown}{rest}"


def _is(found: Sequence) -> str:
    return "is" if len(found) == 1 else "are"
