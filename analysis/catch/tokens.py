"""Cell numbers of the queries and keys of one attention, groups×tokens: read from its operands, or from its map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from analysis.catch.contractions import ONE_ROW
from analysis.catch.lineage import Move, Place
from analysis.catch.places import Replay, Sources, constant_along, first_along, settle_heads


class NotOverTokens(ValueError):
    """There is no softmax over tokens; the message says what there is instead, to follow the module's path."""


@dataclass(frozen=True, eq=False)
class TokenPlaces:
    """Places of queries and keys: tensors …×N×C and …×M×C, to be broadcast to `leading`."""

    query: Place | None
    key: Place | None
    leading: tuple[int, ...]

    def pooled(self) -> bool:
        """Whether one cell may stand for several, which were pooled or merged on the way."""
        return is_pooled(self.query) or is_pooled(self.key)

    def is_over_keys(self) -> bool:
        """Always: fused calls take no other softmax."""
        return True

    def numbers(self, shape: tuple[int, ...], sources: Sources, distributes: bool) -> list[Tensor | None]:
        """groups×N and groups×M, None where not known. Raises NotOverTokens where channels are compared."""
        return [self._side(place, sources) for place in (self.query, self.key)]

    def _side(self, place: Place | None, sources) -> Tensor | None:
        settle_heads(place)
        numbers = Replay(0, sources).numbers(place)
        if numbers is None:
            return None
        _require_channels(numbers, -1, -2)
        numbers = first_along(numbers, -1)
        if numbers.ndim > 1 and self.leading:
            own, wanted = numbers.shape[-2], self.leading[-1]
            if own not in (1, wanted) and wanted % own == 0:  # fewer heads of keys than of queries
                numbers = numbers.repeat_interleave(wanted // own, -2)
        return numbers.expand(*self.leading, numbers.shape[-1]).reshape(-1, numbers.shape[-1])


@dataclass(frozen=True, eq=False)
class MapPlaces:
    """Places of a map that a softmax made: the chain from the product of query and key to the weights. letters: of
    the weights' axes; order: how to arrange them, …, query, key."""

    place: Place | None
    letters: str
    order: str

    def pooled(self) -> bool:
        """Whether one cell may stand for several, which were pooled or merged on the way."""
        return is_pooled(self.place)

    def numbers(self, shape: tuple[int, ...], sources: Sources, distributes: bool) -> list[Tensor | None]:
        """groups×N and groups×M for a map of this shape, None where not known; which operand asks is told by how the
        cells of each vary over the map. distributes: its rows are known to sum to 1. Raises NotOverTokens where
        channels are compared, or where the softmax is over another axis than the keys and rows do not sum to 1."""
        if not (distributes or self.is_over_keys()):
            raise NotOverTokens(
                "has a softmax over another axis than the one that is summed over with the values (over the queries, "
                "say), so that its weights are no attention of a query to the keys"
            )
        scores = _scores(self.place)
        if scores is None:
            numbers = self._arranged(Replay(0, sources))
            return _queries_and_keys([None, numbers], shape)
        assert scores.letters is not None
        for place, letters in zip(scores.parents, (scores.letters.first, scores.letters.second), strict=True):
            if letters[-1] in scores.letters.summed:
                settle_heads(place)
            numbers = Replay(0, sources).numbers(place)
            rows = [letter for letter in letters if letter not in scores.letters.summed]
            if numbers is not None and rows:
                for letter in scores.letters.summed:
                    _require_channels(numbers, letters.index(letter), letters.index(rows[-1]))
        return _queries_and_keys([self._arranged(Replay(side, sources)) for side in (0, 1)], shape)

    def is_over_keys(self) -> bool:
        """Whether a softmax ran along the keys, as far as is known."""
        along = self._arranged(Replay("softmax"))
        return along is None or along.shape[-1] < 2 or _varies(along, -1)

    def _arranged(self, replay: Replay) -> Tensor | None:
        numbers = replay.numbers(self.place)
        if numbers is None:
            return None
        moved = numbers.permute([self.letters.index(letter) for letter in self.order if letter in self.letters])
        return moved if ONE_ROW not in self.order else moved.unsqueeze(self.order.index(ONE_ROW))


def _require_channels(numbers: Tensor, summed: int, rows: int) -> None:
    """That a product of query and key is summed over channels, and not over the tokens."""
    if not constant_along(numbers, summed) and constant_along(numbers, rows):
        raise NotOverTokens(
            "compares channels: its products of queries and keys run over the tokens, so its softmax is over channels "
            "and there is no map over tokens to show"
        )


def _queries_and_keys(sides: list[Tensor | None], shape) -> list[Tensor | None]:
    first, second = sides
    if (first is not None and _varies(first, -1)) or (second is not None and _varies(second, -2)):
        first, second = second, first
    query = None if first is None or _varies(first, -1) else first[..., 0].reshape(-1, shape[-2])
    key = None if second is None or _varies(second, -2) else second[..., 0, :].reshape(-1, shape[-1])
    return [query, key]


def _varies(numbers: Tensor, axis: int) -> bool:
    return numbers.stride(axis) != 0 and bool((numbers != numbers.narrow(axis, 0, 1)).any())


def is_pooled(place: Place | None) -> bool:
    """Whether a sum, mean or maximum over an axis is on the way to it, or a layer or product that takes several cells
    as one."""
    replay = Replay()
    for move in _moves(place):
        if move.kind == "least":
            return True
        for parent, axis in _summed(move):
            numbers = replay.numbers(parent)
            if numbers is not None and -axis <= numbers.ndim and not constant_along(numbers, axis):
                return True
    return False


def _summed(move: Move) -> Iterator[tuple[Place | None, int]]:
    """What a layer or a product sums over: operands, each with an axis of its own, counted from the last one."""
    if move.kind == "widen":
        yield move.parents[0], move.axis - len(move.shape)
    elif move.kind in ("contract", "scores") and move.letters is not None:
        for parent, letters in zip(move.parents, (move.letters.first, move.letters.second), strict=True):
            for letter in move.letters.summed:
                yield parent, letters.index(letter) - len(letters)


def _scores(place: Place | None) -> Move | None:
    """The product of queries and keys that a map began with."""
    return next((move for move in _moves(place) if move.kind == "scores"), None)


def _moves(place: Place | None) -> Iterator[Move]:
    """All moves on the way to it, the last one first."""
    waiting, seen = [place], set()
    while waiting:
        last = waiting.pop()
        if isinstance(last, Move) and id(last) not in seen:
            seen.add(id(last))
            yield last
            waiting.extend(reversed(last.parents))
