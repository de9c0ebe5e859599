"""What the operands of a product are: weights, or values, or gates of features. The softmaxes that an operand descends
from tell, and otherwise its own numbers: rows that sum to 1 were normalised, by whatever operations."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from analysis.catch.contractions import Product
from analysis.catch.lineage import Lineage, Place
from analysis.catch.operands import FinishedMap
from analysis.catch.operations import is_readable
from analysis.catch.places import Replay, constant_along


@dataclass(eq=False)
class Softmax:
    """A softmax, or another way to rows that sum to 1 (`named`: False). scores, scale: the product that went in, as in
    Lineage. used: by a product."""

    scores: Product | None
    scale: float | None
    used: bool = False
    named: bool = True


def as_weights(lineage: Lineage, tensor: Tensor, letters: str, summed: str) -> Lineage:
    """The lineage of an operand whose axes are `letters`, for a product that sums over `summed`.

    Softmaxes that no queries took part in count only where they ran along what is summed over, or where rows sum to 1:
    others are gates of features, such as which of several branches counts how much. Rows made of scores without a
    softmax of PyTorch's that sum to 1 get a Softmax.
    """
    if any(softmax.scores is not None for softmax in lineage.softmaxes):
        return lineage
    if lineage.softmaxes:
        along = any(runs_along(lineage.place, letters.index(letter)) for letter in summed)
        return lineage if along or sums_to_one(tensor, letters, summed) else replace(lineage, softmaxes=frozenset())
    if lineage.scores is not None and sums_to_one(tensor, letters, summed):
        return replace(lineage, softmaxes=frozenset({Softmax(lineage.scores, None, named=False)}), altered=True)
    return lineage


def is_map(lineage: Lineage, product: Product) -> bool:
    """Whether the second operand, which weights meet, is a map of weights itself: its keys are axes of the product."""
    if lineage.scores is None:
        return False
    own, first = product.letters.second, product.letters.first
    kept = [letter for letter in own if letter not in first]
    if lineage.softmaxes:
        return any(runs_along(lineage.place, own.index(letter)) for letter in kept)
    return any(sums_to_one(product.second, own, letter) for letter in kept)


def runs_along(place: Place | None, axis: int, what: str = "softmax") -> bool | None:
    """Whether a softmax that a tensor at `place` descends from ran along this axis (or the "rows" of what was gathered
    do); None where that is not known."""
    numbers = Replay(what).numbers(place)
    return None if numbers is None else not constant_along(numbers, axis)


def sums_to_one(tensor: Tensor, letters: str, summed: str) -> bool:
    """Whether the entries along the one axis `summed` are distributions, some of them not all 0."""
    if len(summed) != 1 or not is_readable(tensor) or tensor.shape[axis := letters.index(summed)] < 2:
        return False
    return FinishedMap(tensor.movedim(axis, -1)).distributes and bool(tensor.any())
