"""Products of two tensors in one form: Einstein letters, whether matmul, bmm, einsum or @ was called."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from analysis.catch.operations import ADDED_PRODUCTS, is_readable

# Stands for the axis of queries where each group has one alone: a cell that attends to its neighbourhood.
ONE_ROW = "·"
# By which names the operands of a product are given, in the order of their places.
OPERANDS = ("input", "self", "mat1", "batch1", "tensor1", "mat", "other", "mat2", "batch2", "tensor2", "vec")


@dataclass(frozen=True, slots=True)
class Contraction:
    """first, second, out: one letter for each axis of the two operands and of the product.

    Letters in both operands and not in `out` are summed over.
    """

    first: str
    second: str
    out: str

    @property
    def summed(self) -> str:
        return "".join(letter for letter in self.first if letter in self.second and letter not in self.out)

    def swapped(self) -> Contraction:
        return Contraction(self.second, self.first, self.out)

    def rows(self) -> str:
        """The last letter that `first` alone gives to the product; empty if there is none."""
        return next((a for a in reversed(self.first) if a in self.out and a not in self.second), "")


@dataclass(frozen=True, slots=True)
class Product:
    """Two operands and the letters of their axes. factor: what the product is multiplied with. added: something else
    is added to it."""

    first: Tensor
    second: Tensor
    letters: Contraction
    factor: float = 1.0
    added: bool = False

    def swapped(self) -> Product:
        return Product(self.second, self.first, self.letters.swapped(), self.factor, self.added)


def product_of(name: str, args: tuple, kwargs: dict) -> Product | None:
    """The product that a call computes; None where it is none of two tensors, with letters once each in an operand."""
    if name == "einsum":
        return _einsum(args)
    named = (kwargs[operand] for operand in OPERANDS if operand in kwargs)
    values = [value for value in (*args, *named) if isinstance(value, Tensor)]
    if name == "__rmatmul__":
        values = values[1::-1]
    added = name in ADDED_PRODUCTS
    if added and values:
        added = kwargs.get("beta", 1) != 0 and not (is_readable(values[0]) and not bool(values[0].any()))
        values = values[1:]
    if len(values) < 2:
        return None
    first, second = values[:2]
    if name in ("inner", "tensordot"):
        dims = args[2] if len(args) > 2 else kwargs.get("dims", 2)
        letters = _paired_letters(first.ndim, second.ndim, ([-1], [-1]) if name == "inner" else dims)
    else:
        letters = _matrix_letters(first.ndim, second.ndim)
    factor = kwargs.get("alpha", 1) if name in ADDED_PRODUCTS else 1
    return None if letters is None else Product(first, second, letters, factor, added)


def arranged(tensor: Tensor, letters: str, order: str, joined: str = "") -> Tensor:
    """The tensor with its axes in this order, axes that it lacks of size 1; those in `joined` become the last one."""
    present = [letter for letter in order + joined if letter in letters]
    moved = tensor.permute([letters.index(letter) for letter in present])
    shape = [moved.shape[present.index(letter)] if letter in present else 1 for letter in order]
    if joined:
        shape.append(-1 if moved.numel() else 0)
    return moved.reshape(shape)


def _matrix_letters(first: int, second: int) -> Contraction | None:
    if min(first, second) < 1 or max(first, second) > 20:
        return None
    leading = string.ascii_uppercase[: max(first, second, 2) - 2]
    one = leading[len(leading) - max(first - 2, 0) :] + ("rk" if first > 1 else "k")
    other = leading[len(leading) - max(second - 2, 0) :] + ("kc" if second > 1 else "k")
    out = leading + ("r" if first > 1 else "") + ("c" if second > 1 else "")
    return Contraction(one, other, out)


def _paired_letters(first: int, second: int, dims: Any) -> Contraction | None:
    """Of two operands that are summed over axes `dims`: of each, or a number of the last and the first ones."""
    if isinstance(dims, int):
        dims = range(first - dims, first), range(dims)
    if isinstance(dims, Tensor) or min(first, second) < 1 or first + second > 20:
        return None
    pairs = {b % second: a % first for a, b in zip(*dims, strict=True)}
    one = string.ascii_lowercase[:first]
    other = "".join(one[pairs[axis]] if axis in pairs else string.ascii_uppercase[axis] for axis in range(second))
    return Contraction(one, other, "".join(a for a in one + other if (a in one) != (a in other)))


def _einsum(args: tuple) -> Product | None:
    equation, operands = args[0], args[1:]
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    if not isinstance(equation, str) or len(operands) != 2:
        return None
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    parts = inputs.split(",")
    if len(parts) != 2:
        return None
    free = [letter for letter in string.ascii_uppercase if letter not in equation]
    dots = [tensor.ndim - len(part) + 3 for part, tensor in zip(parts, operands, strict=True) if "..." in part]
    batch = "".join(free[: max(dots, default=0)])
    named: list[str] = []
    for part, tensor in zip(parts, operands, strict=True):
        own = tensor.ndim - len(part) + 3
        named.append(part.replace("...", batch[len(batch) - own :] if own else ""))
    if not arrow:
        seen = "".join(parts).replace(".", "")
        out = ("..." if batch else "") + "".join(sorted(letter for letter in seen if seen.count(letter) == 1))
    out = out.replace("...", batch)
    if any(len(set(part)) < len(part) for part in (*named, out)):
        return None
    return Product(operands[0], operands[1], Contraction(named[0], named[1], out))


def sizes(product: Product) -> dict[str, int]:
    """How long each letter's axis is."""
    found: dict[str, int] = {}
    for tensor, letters in ((product.first, product.letters.first), (product.second, product.letters.second)):
        for size, letter in zip(tensor.shape, letters, strict=True):
            found[letter] = max(size, found.get(letter, 1))
    return found
