"""Which cell of which image each token is: the moves of a tensor run again on cell numbers.

A cell number is source·2³² + image·cells + cell + 1 as float64, exact and fit for every move; 0 is none (a class
token, padding, a parameter). Numbers are broadcast along channels and heads, so that they take little memory until a
move has to copy them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from analysis.catch.contractions import arranged
from analysis.catch.lineage import Move, Part, Place, Source

SPAN = 2**32  # of the numbers of one source
# Copies of cell numbers hold 8 bytes an entry: 1 GiB at this many.
MAX_ENTRIES = 2**27


class Sources(list[Source]):
    """The maps that cell numbers are counted on, in order. from_end: the cells of each image are counted from the last
    one, so that a token made of several is known by the last of them and not by the first. asked: numbers of the
    queries of attentions on the way, by their id, worked out once: each is asked for by all that came after it."""

    def __init__(self, *, from_end: bool = False) -> None:
        super().__init__()
        self.from_end = from_end
        self.asked: dict[int, Tensor | None] = {}


class Replay:
    """Cell numbers of places. side: of a product of query and key, the operand (0 or 1) whose cells are asked for; or,
    instead of cells, "softmax": numbers along the axis of the softmax, "rows": along the queries of what was gathered.
    """

    def __init__(self, side: int | str = 0, sources: Sources | None = None):
        self.side = side
        self.sources = Sources() if sources is None else sources
        self._done: dict[int, tuple[Place, Tensor | None]] = {}

    def numbers(self, place: Place | None) -> Tensor | None:
        """float64 of the place's shape, or None where its cells are not known."""
        if place is None:
            return None
        waiting = [place]
        while waiting:  # a chain may be longer than Python's stack
            last = waiting[-1]
            parents = () if isinstance(last, Source) or self._begins(last) else last.parents
            missing = [parent for parent in self._wanted(last, parents) if id(parent) not in self._done]
            if missing:
                waiting.extend(missing)
                continue
            waiting.pop()
            if id(last) not in self._done:
                self._done[id(last)] = last, self._step(last)
        return self._done[id(place)][1]

    def _begins(self, move: Move) -> bool:
        if self.side == "rows":
            return move.kind == "gathered"
        return self.side == "softmax" and move.kind in ("softmax", "scores")

    def _wanted(self, place: Place, parents: tuple) -> list[Place]:
        if isinstance(place, Move) and place.kind in ("scores", "composed") and parents:
            parents = (parents[0 if self.side == 0 else 1],)
        return [parent for parent in parents if parent is not None]

    def _step(self, place: Place) -> Tensor | None:
        if isinstance(place, Source):
            return self._begin(place) if isinstance(self.side, int) else None
        if self._begins(place):
            return None if place.axis is None else _along(place.shape, place.axis)
        if place.kind == "gathered":
            return None if self.side == "softmax" else _gathered(place, self.sources)
        known = [None if parent is None else self._done.get(id(parent), (None, None))[1] for parent in place.parents]
        if all(numbers is None for numbers in known):
            return None
        return _STEPS[place.kind](place, known, self.side)

    def _begin(self, source: Source) -> Tensor:
        if source not in self.sources:
            self.sources.append(source)
        height, width = source.grid
        images, cells = source.shape[0], height * width
        first = self.sources.index(source) * SPAN + 1
        numbers = torch.arange(first, first + images * cells, dtype=torch.float64)
        if self.sources.from_end:
            numbers = numbers.reshape(images, cells).flip(1)
        shape = [size if axis in (0, *source.axes) else 1 for axis, size in enumerate(source.shape)]
        return numbers.reshape(shape).expand(source.shape)


def _along(shape: tuple[int, ...], axis: int) -> Tensor:
    sizes = [1] * len(shape)
    sizes[axis] = shape[axis]
    return torch.arange(1, shape[axis] + 1, dtype=torch.float64).reshape(sizes).expand(shape)


def _again(move: Move, known: list[Tensor | None], side) -> Tensor | None:
    """The same operation on the numbers."""
    if math.prod(move.shape) > MAX_ENTRIES:
        return None
    numbers = move.function(*_filled(move.args, known), **_filled(move.kwargs, known))  # type: ignore[misc]
    if move.index is not None:
        numbers = numbers[move.index]
    return numbers if tuple(numbers.shape) == move.shape else None


def _filled(value: Any, known: list[Tensor | None]) -> Any:
    if isinstance(value, Part):
        numbers = known[value.number]
        return torch.zeros((), dtype=torch.float64).expand(value.shape) if numbers is None else numbers
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: _filled(entry, known) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        filled = [_filled(entry, known) for entry in value]
        return filled if isinstance(value, list) else tuple(filled)
    return value


def constant_along(numbers: Tensor, axis: int) -> bool:
    """Whether all cells along this axis are the same, everywhere; what lies on none does not count."""
    if numbers.stride(axis) == 0:
        return True
    return bool(((numbers == numbers.amax(axis, keepdim=True)) | (numbers == 0)).all())


def first_along(numbers: Tensor, axis: int, keepdim: bool = False) -> Tensor:
    """The first of the cells along an axis; 0 where there is none."""
    if numbers.stride(axis) == 0:
        return numbers.narrow(axis, 0, 1) if keepdim else numbers.select(axis, 0)
    least = numbers.masked_fill(numbers == 0, torch.inf).amin(axis, keepdim)
    return least.masked_fill(least == torch.inf, 0)


def settle_channels(place: Place | None, axis: int = -1) -> None:
    """A layer takes `axis` for channels: the one input of the model that was taken for B×C×h×w, and whose cells would
    lie along it, is B×h×w×C where this puts its channels there."""
    source = place
    while isinstance(source, Move):
        source = next((parent for parent in source.parents if parent is not None), None)
    if source is None or not (source.given and source.alone) or source.axes != (2, 3) or source.settled:
        return
    if (numbers := Replay().numbers(place)) is None:
        return
    if constant_along(numbers, axis):
        source.settled = True
        return
    source.axes, source.given = (1, 2), False
    if (numbers := Replay().numbers(place)) is None or not constant_along(numbers, axis):
        source.axes, source.given = (2, 3), True


def settle_heads(place: Place | None) -> None:
    """What is compared along its last axis just as it was given, and not alone, is B×heads×N×d and no B×C×h×w."""
    if isinstance(place, Source) and place.given and not place.alone and place.axes == (2, 3):
        place.axes = (2,)


def _widen(move: Move, known: list[Tensor | None], side) -> Tensor | None:
    """Merged patches (several cells along the channels) are known by the first of them."""
    numbers = known[0]
    assert numbers is not None
    axis = move.axis - len(move.shape)
    if -axis > numbers.ndim or not numbers.shape[axis]:
        return None
    return _broadcast(first_along(numbers, axis, keepdim=True), move.shape)


def _broadcast(numbers: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    try:
        return numbers.expand(shape)
    except RuntimeError:  # it is no broadcast: the cells are not known
        return None


def _least(move: Move, known: list[Tensor | None], side) -> Tensor | None:
    """A pooled token is known by the first of its cells."""
    numbers = known[0]
    assert numbers is not None
    dims, keepdim = move.axis
    for dim in sorted((dim % numbers.ndim for dim in ([dims] if isinstance(dims, int) else dims)), reverse=True):
        numbers = first_along(numbers, dim, keepdim)
    return numbers if tuple(numbers.shape) == move.shape else None


def _contract(move: Move, known: list[Tensor | None], side) -> Tensor | None:
    """Heads mixed by a constant: the numbers are the same in all of them."""
    assert move.letters is not None
    letters = move.letters
    place, own = next((place, numbers) for place, numbers in enumerate(known) if numbers is not None)
    of_operand = (letters.first, letters.second)[place]
    for letter in letters.summed:
        axis = of_operand.index(letter)
        own = first_along(own, axis, keepdim=True)
    kept = "".join(letter for letter in of_operand if letter not in letters.summed)
    own = own.squeeze([of_operand.index(letter) for letter in letters.summed])
    return _broadcast(arranged(own, kept, letters.out), move.shape)


def _score(move: Move, known: list[Tensor | None], side) -> Tensor | None:
    """The rows (side 0) or the columns (side 1, and those that a softmax ran along) of a product."""
    assert move.letters is not None
    numbers = known[0 if side == 0 else 1]
    if numbers is None:
        return None
    letters = move.letters if side == 0 else move.letters.swapped()
    for letter in letters.summed:
        numbers = numbers.narrow(letters.first.index(letter), 0, 1)
    kept = "".join(letter for letter in letters.first if letter not in letters.summed)
    numbers = numbers.squeeze([letters.first.index(letter) for letter in letters.summed])
    return _broadcast(arranged(numbers, kept, letters.out), move.shape)


def _gathered(move: Move, sources: Sources) -> Tensor | None:
    """What an attention gathered lies where its queries do."""
    assert move.function is not None and move.letters is not None
    numbers = move.function(sources)  # …×queries, as the weights have them but for the keys
    if numbers is None:
        return None
    letters, row = move.letters, move.letters.rows()
    numbers = numbers if row else numbers[..., 0]
    order = "".join(a for a in letters.first if a not in row + letters.summed) + row
    return _broadcast(arranged(numbers, order, letters.out), move.shape)


def _same(move: Move, known: list[Tensor | None], side) -> Tensor | None:
    return known[0]


def _both(move: Move, known: list[Tensor | None], side) -> Tensor | None:
    """Made of two maps entry by entry, each with a softmax of its own: numbers that differ along the axes of both."""
    told = [numbers for numbers in known if numbers is not None]
    if side != "softmax" or len(told) < 2:
        return told[0]
    first, second = (_once(numbers) for numbers in told)
    return (first * (second.max() + 1) + second).expand(move.shape)


def _once(numbers: Tensor) -> Tensor:
    """Without the axes along which they are broadcast."""
    for axis in range(numbers.ndim):
        numbers = numbers.narrow(axis, 0, 1) if numbers.stride(axis) == 0 else numbers
    return numbers


def _either(move: Move, known: list[Tensor | None], side) -> Tensor | None:
    first, second = known
    return second if first is None or not bool(first.any()) else first


def _expand(move: Move, known: list[Tensor | None], side) -> Tensor | None:
    assert known[0] is not None
    return _broadcast(known[0], move.shape)


_STEPS = {
    "move": _again, "widen": _widen, "least": _least, "contract": _contract, "scores": _score, "composed": _score,
    "softmax": _same, "both": _both, "expand": _expand, "either": _either,
}  # fmt: skip
