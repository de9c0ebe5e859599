"""Where images come from: the drive, city, scene or folder that some of them share, and their place in it.

Images of one group resemble each other, so that figures of a data set are not those of as many independent images. A
group is also what can be left out of training as a whole, to choose a model on what it has not seen.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Of a pattern that a data set brings. How long a match can take grows with the names' length to the power of the
# repeats, and doubles with each option.
MOST_PATTERN = 200
MOST_REPEATS = 3
MOST_OPTIONS = 4
GROUP, PLACE = "group", "place"
EXAMPLE = "(?P<group>[A-Za-z0-9]+)_(?P<place>[0-9]+)"


class Origin(NamedTuple):
    """group: of the image, None where it is taken as independent of all others. place: where it comes in its group,
    only to be compared; None where images stand in the order of the data set."""

    group: str | None = None
    place: int | None = None


def group_sizes(origins: Iterable[Origin]) -> dict[str, int]:
    """Images of each group, in the order in which groups first come; images without a group are left out."""
    return dict(Counter(origin.group for origin in origins if origin.group is not None))


def in_natural_order(names: Sequence[str], groups: Sequence[str]) -> list[Origin]:
    """Each name's group, and its place there from 0: in the order of names, numbers in them compared as numbers."""
    members: dict[str, list[str]] = {}
    for name, group in zip(names, groups, strict=True):
        members.setdefault(group, []).append(name)
    places = {
        (group, name): place
        for group, of_group in members.items()
        for place, name in enumerate(sorted(of_group, key=_natural))
    }
    return [Origin(group, places[group, name]) for name, group in zip(names, groups, strict=True)]


def _natural(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """A key that puts frame-9 before frame-10."""
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(part)) if part.isdecimal() and part.isascii() else (0, part) for part in parts], name


# --- a pattern that a data set brings --------------------------------------------------------------------------------


def compile_groups(text: object) -> re.Pattern[str]:
    """The pattern that finds a name's group, and its place where it has one. Raises ValueError with a clause.

    A regular expression with the named group (?P<group>…) and perhaps (?P<place>…), which must match a number. It is
    somebody else's, and must not be able to run for minutes: no group in it is repeated, only optional; at most
    MOST_REPEATS parts are repeated a varying number of times; at most MOST_OPTIONS are optional or alternatives; and
    it looks neither back nor ahead.
    """
    if not isinstance(text, str) or not 1 <= len(text) <= MOST_PATTERN:
        raise ValueError(f"it must be text of 1 … {MOST_PATTERN} characters")
    _refuse_endless(text)
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"it is no regular expression ({error})") from error
    if GROUP not in pattern.groupindex:
        raise ValueError("it has no part (?P<group>…)")
    return pattern


def origins_by(pattern: re.Pattern[str], names: Sequence[str]) -> list[Origin]:
    """The origin of each name, which the pattern must match as a whole.

    Without a place in the pattern images have theirs in the order of names. Raises ValueError with a clause that says
    the first name that does not match.
    """
    matches = []
    for name in names:
        match = pattern.fullmatch(name)
        if match is None or not match[GROUP]:  # what does not match takes longest, so the first one ends it
            raise ValueError(f"it does not match {name!r}, or finds no group in it")
        matches.append(match)
    groups = [match[GROUP] for match in matches]
    if PLACE not in pattern.groupindex:
        return in_natural_order(names, groups)
    places = [match[PLACE] or "" for match in matches]
    for name, place in zip(names, places, strict=True):
        if not (place.isascii() and place.isdecimal() and len(place) <= 18):
            raise ValueError(f"its place in {name!r} is {place[:40]!r}; it must be a number of at most 18 digits")
    return [Origin(group, int(place)) for group, place in zip(groups, places, strict=True)]


_TOKEN = re.compile(
    r"(?P<escape>\\.)|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])|(?P<open>\((?:\?P<\w+>|\?:)?)"
    r"|(?P<close>\))|(?P<repeat>[*+]|\{\d*,\d*\})[?+]?|(?P<exact>\{\d+\})|(?P<optional>\?[?+]?)|(?P<bar>\|)|.",
    re.ASCII | re.DOTALL,
)


def _refuse_endless(text: str) -> None:
    """Refuse what could make a match take very long, whatever the names are."""
    repeats = options = 0
    before = ""
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup or ""
        after_group = before == "close"
        before = kind
        if kind == "open" and text.startswith("(?", token.start()) and token[0] == "(":
            raise ValueError(f"it uses {text[token.start() :][:4]!r}; brackets may be (…), (?:…) and (?P<name>…) alone")
        if kind == "escape" and token[0][1].isdigit():
            raise ValueError(f"it uses {token[0]!r}, which looks back; leave that out")
        if kind in ("repeat", "exact") and after_group:
            raise ValueError(f"it repeats a part in (…) by {token[0]!r}; only ? may stand behind a bracket")
        repeats += kind == "repeat"
        options += kind in ("optional", "bar")
    if repeats > MOST_REPEATS or options > MOST_OPTIONS:
        raise ValueError(
            f"it repeats {repeats} parts and has {options} options; at most {MOST_REPEATS} repeats (* + {{m,n}}) and "
            f"{MOST_OPTIONS} options (? |) are allowed"
        )
