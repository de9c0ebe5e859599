"""What each tensor of a running model was made of: enough to know later which cells its entries belong to.

A Lineage is kept beside every tensor that a model makes, and holds no data of activations. Its parts:

place      How the tensor's entries came from a map of cells: a chain of Moves (view, permute, roll, pad, gather …) that
           begins at a Source (the patches that a strided convolution makes, a pooled map, the model's own input).
           Operations entry by entry leave the place as it is. `analysis.catch.places` runs the chain again on cell
           numbers in place of data.
softmaxes  Which softmaxes it descends from, until a product with values takes them up, or a gate of features is made of
           them.
scores     Which product of two activations it descends from, and `scale`: what that product was multiplied with since,
           None once something else was done to it (a bias, a mask, mixed heads).
altered    Something else than reshaping was done to it since the softmax, or, unseen, to its memory by way of another
           tensor: what query and key say has to be held against every row then.
active     False for what comes from parameters and constants alone, such as tables of positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from analysis.catch.contractions import Contraction
from analysis.catch.operations import (
    AS_ANOTHER,
    AS_OTHERS,
    BATCHINGS,
    CONSTANTS,
    CONVOLUTIONS,
    COPIES,
    DIVISIONS,
    DROPOUTS,
    INSERTIONS,
    KERNELS,
    MEMORY,
    MOVES,
    MULTIPLICATIONS,
    ORDERINGS,
    POOLINGS,
    RANDOM,
    REDUCTIONS,
    RESHAPINGS,
    SAMPLINGS,
    TRANSFORMS_BACK,
    WRITINGS,
    is_entrywise,
    is_readable,
)


@dataclass(eq=False, slots=True)
class Source:
    """A map where cells begin. axes: those of a tensor of this shape that run over cells; images lie along the first.

    given: it is the model's own input, so that its axes are a convention: B×C×h×w, or tokens B×N×C. parent: where the
    map lay that it was made of; reach: cells of that one, along each axis, that one of its own is made of. sampled: it
    was read off that map at places of the model's own choice. argument: the outermost module was given it; alone: as
    its one map, and not with others, such as queries, keys and values with heads. settled: a layer has confirmed where
    its channels are taken to lie.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    given: bool = False
    parent: Source | Move | None = None
    reach: tuple[int, ...] = ()
    sampled: bool = False
    argument: bool = False
    alone: bool = False
    settled: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) in cells; a sequence is one row."""
        *rows, width = (self.shape[axis] for axis in self.axes)
        return math.prod(rows), width


@dataclass(eq=False, slots=True)
class Move:
    """One step of a chain, which gives a tensor of this shape.

    kind: "move" (`function` again), "widen" (other channels along `axis`), "least" (reduced over `axis`), "expand"
    (broadcast), "contract" (with a constant), "scores" (a product of two parents), "composed" (of two maps: the
    queries of the first, the keys of the second), "softmax" (along `axis`), "both" (two maps entry by entry),
    "gathered" (by an attention whose queries `function` gives) or "either" (the first parent that is known).
    parents: places of the operands, None where an operand lies on no map.
    """

    kind: str
    shape: tuple[int, ...]
    parents: tuple[Source | Move | None, ...]
    function: Callable | None = None
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)
    axis: Any = None
    index: int | None = None
    letters: Contraction | None = None


Place = Source | Move


@dataclass(frozen=True, slots=True)
class Part:
    """Stands in recorded arguments for the operand of that number and shape."""

    number: int
    shape: tuple[int, ...]


@dataclass(eq=False, slots=True)
class Lineage:
    """See the module's docstring. dropped: dropout was at work since the softmax. gathered: these are values that
    the weights of that attention gathered."""

    place: Place | None = None
    active: bool = True
    softmaxes: frozenset = frozenset()
    scores: Any = None
    scale: float | None = None
    altered: bool = False
    dropped: bool = False
    gathered: Any = None


CONSTANT = Lineage(active=False)


class Lineages:
    """The lineages of all tensors that are alive."""

    def __init__(self, model: nn.Module):
        self._of: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._versions: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._constants = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self._exposed: set[int] = set()  # memory that may have been written to without a trace, by its address
        self.used: set[int] = set()  # constants that took part, by id

    def of(self, tensor: Tensor) -> Lineage:
        """Of a tensor that no operation made: a parameter or buffer, or else an input."""
        found = self._of.get(tensor)
        if found is None:
            if id(tensor) in self._constants or isinstance(tensor, nn.Parameter):
                self.used.add(id(tensor))
                return CONSTANT
            found = Lineage(_given(tensor))
            self.put(tensor, found)
        return found

    def begin(self, given: tuple) -> None:
        """The outermost module was given these."""
        sources = {self.of(tensor).place for tensor in operands_of(given, {})}
        maps = [place for place in sources if isinstance(place, Source) and len(place.shape) == 4]
        for place in sources:
            if isinstance(place, Source):
                place.argument, place.alone = True, maps == [place]

    def put(self, tensor: Tensor, lineage: Lineage) -> None:
        """Keep the lineage of a tensor as it is now."""
        self._of[tensor] = lineage
        self._versions[tensor] = _version(tensor)

    def is_altered(self, tensor: Tensor, known: int = 0) -> bool:
        """Whether the tensor is not its softmax, reshaped, alone; or not for sure: what is done to a part of it through
        another tensor shows in its version, which those of inference mode do not have. known: writings that are known
        of."""
        before, now = self._versions.get(tensor), _version(tensor)
        if self.of(tensor).altered or before is None or now is None or now > before + known:
            return True
        return bool(self._exposed) and _memory(tensor) in self._exposed

    def prepares(self, name: str, args: tuple, kwargs: dict, output: Any) -> bool:
        """Whether an operation outside of all modules prepares what the model is given, so that it is an input like
        one that was there before: numbers that come from no others, and images that are put into a batch."""
        operands = operands_of(args, kwargs)
        if not operands:
            return True
        return (
            name in BATCHINGS
            and isinstance(output, Tensor)
            and output.ndim == 4
            and all(operand.ndim == 3 and operand is not output for operand in operands)
        )

    def follow(
        self, name: str, function: Callable, args: tuple, kwargs: dict, output: Any, *, inside: bool, ended: bool
    ) -> None:
        """Give the outputs of an operation their lineages; softmaxes and products of activations are not for here.

        inside: a watched module. ended: what comes out descends from no softmax any more.
        """
        outputs = [output] if isinstance(output, Tensor) else tensors_in(output)
        if name == "__setitem__":
            outputs, function = [args[0]], _assigned
        operands = operands_of(args, kwargs)
        lineages = [self.of(operand) for operand in operands]
        if _reaches_memory(name, function):
            self._exposed |= {_memory(operand) for operand in operands}
        if not outputs:
            return
        if name in RANDOM and not operands:
            return  # an input that the model makes itself
        if name in CONSTANTS or not any(lineage.active for lineage in lineages):
            begins = name not in CONSTANTS and self._from_given_numbers(args, kwargs)
            for made in outputs:
                self.put(made, Lineage(_given(made)) if begins else CONSTANT)
            return
        if inside and name == "linear" and lineages[0].active:
            lineages[0].place = _told_apart(lineages[0].place, operands[0])
        attention = self._attention_of(name, args, kwargs, operands, lineages, outputs[0], ended)
        for index, made in enumerate(outputs):
            place = _place(name, function, args, kwargs, operands, lineages, made, _index(output, index))
            self.put(made, Lineage(place, True, **attention))
        if name in WRITINGS or any(outputs[0] is operand for operand in operands):
            self._written_into(outputs[0], moves=name in WRITINGS)

    def _from_given_numbers(self, args: tuple, kwargs: dict) -> bool:
        """Whether whole numbers that the model was given are among the arguments, or come from such: bytes of an image,
        indices of words. Truth values choose, and are no activations."""
        given = [value for value in _flat((*args, *kwargs.values())) if not value.is_floating_point()]
        return any(self.of(value).active for value in given if value.dtype != torch.bool)

    def _written_into(self, part: Tensor, moves: bool) -> None:
        """Values were written into a part of another tensor: there that one lies where they do. moves: they may come
        from elsewhere, and not from that part alone."""
        whole = None if part.is_inference() else part._base
        if whole is None:
            return
        below, own = self.of(whole), self.of(part)
        if not own.active or (below.active and not moves):
            return
        place = None
        if below.place is not None or own.place is not None:
            parts = (Part(0, tuple(whole.shape)), Part(1, tuple(part.shape)))
            args = (*parts, whole.stride(), part.stride(), part.storage_offset() - whole.storage_offset())
            place = Move("move", tuple(whole.shape), (below.place, own.place), _part_written, args)
        softmaxes, scores = below.softmaxes | own.softmaxes, below.scores or own.scores
        self.put(whole, Lineage(place, True, softmaxes, scores, altered=True, gathered=own.gathered))

    def _attention_of(self, name, args, kwargs, operands, lineages, made: Tensor, ended: bool) -> dict[str, Any]:
        """What a tensor inherits of softmaxes and scores."""
        descend = [
            lineage.softmaxes
            for operand, lineage in zip(operands, lineages, strict=True)
            if not (ended or (name in MULTIPLICATIONS and _gates(operand, operands, lineages)))
        ]
        softmaxes = frozenset().union(*descend)
        from_scores = next((lineage for lineage in lineages if lineage.scores is not None), None)
        gathered = next((lineage.gathered for lineage in lineages if lineage.gathered is not None), None)
        found: dict[str, Any] = {"softmaxes": softmaxes, "gathered": gathered}
        drops = bool(softmaxes) and _drops(name, args, kwargs)
        found["dropped"] = drops or any(lineage.dropped for lineage in lineages)
        if from_scores is not None:
            found |= {"scores": from_scores.scores, "scale": _scaled(name, args, kwargs, operands, from_scores)}
        if softmaxes or from_scores is not None:
            scaled = not softmaxes and name in MULTIPLICATIONS | DIVISIONS
            found["altered"] = not (scaled or _leaves_values(name, args, kwargs)) or any(
                self.is_altered(operand, int(operand is made))
                for operand, lineage in zip(operands, lineages, strict=True)
                if lineage.softmaxes or lineage.scores is not None
            )
        return found


def _version(tensor: Tensor) -> int | None:
    """How often the tensor's memory was written to, by way of any tensor; None where PyTorch does not count."""
    return None if tensor.is_inference() else tensor._version


def _memory(tensor: Tensor) -> int:
    """Where the tensor's memory begins; 0 where it has none of its own."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    if wrapped or tensor.is_nested or tensor.layout != torch.strided:
        return 0
    return tensor.untyped_storage().data_ptr()


def _reaches_memory(name: str, function: Callable) -> bool:
    """Whether an operation hands out memory that can be written to where nobody sees it."""
    attribute = getattr(getattr(function, "__self__", None), "__name__", "") if name == "__get__" else ""
    return name in MEMORY or attribute in MEMORY


def _part_written(
    whole: Tensor, part: Tensor, strides: tuple[int, ...], part_strides: tuple[int, ...], offset: int
) -> Tensor:
    """`whole`, laid out in memory with its own strides, with `part` in place of what lies there."""
    made = torch.empty_strided(whole.shape, strides, dtype=whole.dtype).copy_(whole)
    made.as_strided(part.shape, part_strides, offset).copy_(part)
    return made


def operands_of(args: tuple, kwargs: dict) -> list[Tensor]:
    """The tensors of real or complex numbers among the arguments of an operation, in order; those in lists and tuples
    too."""
    return [value for value in _flat((*args, *kwargs.values())) if value.is_floating_point() or value.is_complex()]


def tensors_in(output: Any) -> list[Tensor]:
    return list(_flat(output)) if isinstance(output, (list, tuple)) else []


def _flat(values: Sequence) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif type(value) in (list, tuple):
            yield from _flat(value)


def _index(output: Any, index: int) -> int | None:
    return index if isinstance(output, (list, tuple)) else None


def _given(tensor: Tensor) -> Source | None:
    if not tensor.is_floating_point() or tensor.is_nested or tensor.ndim not in (3, 4):
        return None
    return Source(tuple(tensor.shape), (2, 3) if tensor.ndim == 4 else (1,), given=True)


def _assigned(target: Tensor, index: Any, value: Any) -> Tensor:
    target = target.clone()
    target[index] = value
    return target


# --- places ----------------------------------------------------------------------------------------------------------


def _place(name, function, args, kwargs, operands, lineages, made: Tensor, index: int | None) -> Place | None:
    shape, places = tuple(made.shape), [lineage.place for lineage in lineages]
    if name in CONVOLUTIONS or name in POOLINGS:
        return _convolved(operands[0], places[0], shape, _reach(name, args, kwargs, made.ndim - 2))
    if name in TRANSFORMS_BACK:
        return _transformed_back(made, args, kwargs, TRANSFORMS_BACK[name])
    if all(place is None for place in places) or name in ORDERINGS:
        return None
    if name in SAMPLINGS:
        return Source(shape, tuple(range(2, made.ndim)), parent=places[0], sampled=True)
    if name == "linear":
        return _widened(places[0], shape, made.ndim - 1)
    if name in AS_ANOTHER:
        return Move("move", shape, (places[0],), AS_ANOTHER[name], (Part(0, tuple(operands[0].shape)), shape))
    if name == "pad":
        return Move("move", shape, (places[0],), F.pad, (Part(0, tuple(operands[0].shape)), *_padding(args, kwargs)))
    if name == "copy_":
        return places[1] if places[1] is None else Move("expand", shape, (places[1],))
    if name in AS_OTHERS:
        return Move("move", shape, (places[0],), AS_OTHERS[name], (Part(0, tuple(operands[0].shape)),))
    inserts = name.strip("_") in INSERTIONS and len(operands) > 1
    if inserts:
        function = getattr(Tensor, name.strip("_"), function)
    if inserts or name in MOVES or name == "__setitem__":
        named = {key: _packed(value, operands) for key, value in kwargs.items() if key != "out"}
        packed = _packed(args, operands), named
        return Move("move", shape, tuple(places), _repeatable(name, function), *packed, index=index)
    return _kept(name, args, kwargs, operands, lineages, shape)


def _reach(name: str, args: tuple, kwargs: dict, axes: int) -> tuple[int, ...]:
    """How many cells one is made of, along each axis; 1 for what has no kernel."""
    kernel: Any = args[1] if len(args) > 1 else kwargs.get("weight", kwargs.get("kernel_size"))
    if name in CONVOLUTIONS:
        dilation = args[5] if len(args) > 5 else kwargs.get("dilation", 1)
        apart = (dilation,) * axes if isinstance(dilation, int) else dilation
        return tuple((size - 1) * step + 1 for size, step in zip(kernel.shape[2:], apart, strict=False))
    if name in KERNELS and isinstance(kernel, (int, list, tuple)):
        return (kernel,) * axes if isinstance(kernel, int) else tuple(kernel)
    return (1,) * axes


def _padding(args: tuple, kwargs: dict) -> tuple:
    """How a map is padded: with cells that are none, or with its own ones (reflect, replicate, circular)."""
    pad = args[1] if len(args) > 1 else kwargs["pad"]
    mode = args[2] if len(args) > 2 else kwargs.get("mode", "constant")
    return (pad,) if mode == "constant" else (pad, mode)


def _repeatable(name: str, function: Callable) -> Callable:
    # A view of the data may need a copy of the cell numbers, which are broadcast along channels.
    return Tensor.reshape if name == "view" else function


def _packed(value: Any, operands: list[Tensor]) -> Any:
    if isinstance(value, Tensor):
        number = next((number for number, operand in enumerate(operands) if operand is value), None)
        return _copied(value) if number is None else Part(number, tuple(value.shape))
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, slice):
        return slice(_packed(value.start, operands), _packed(value.stop, operands), _packed(value.step, operands))
    if isinstance(value, (list, tuple)):
        packed = [_packed(entry, operands) for entry in value]
        return packed if isinstance(value, list) else tuple(packed)
    return value


def _copied(tensor: Tensor) -> Tensor:
    """An index or mask as it is now, since the model may write over it; what is broadcast stays so."""
    shape = tensor.shape
    for axis in range(tensor.ndim):
        if tensor.stride(axis) == 0 and shape[axis] > 1:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor.detach().clone().expand(shape)


def _transformed_back(made: Tensor, args: tuple, kwargs: dict, axes: int | None) -> Place | None:
    """A map or sequence out of its frequencies. What was done to those is not known, so that it is like an input, but
    for its axes. axes: how many run over cells where none are named, None for all."""
    dims = args[2] if len(args) > 2 else kwargs.get("dim")
    if dims is None:
        dims = range(made.ndim) if axes is None else range(made.ndim - axes, made.ndim)
    places = {dim % made.ndim for dim in ([dims] if isinstance(dims, int) else dims)}
    if 0 in places or len(places) != made.ndim - 2:
        return None
    return Source(tuple(made.shape), tuple(sorted(places)), given=True)


def _convolved(operand: Tensor, place: Place | None, shape: tuple[int, ...], reach: tuple[int, ...]) -> Place | None:
    """The same cells where a map keeps its size; cells of their own where it does not."""
    if len(shape) < 3:
        return None
    if place is not None and shape[2:] == tuple(operand.shape[2:]) and not _is_input(place):
        return _widened(place, shape, 1)
    return Source(shape, tuple(range(2, len(shape))), parent=place, reach=reach)


def _widened(place: Place | None, shape: tuple[int, ...], axis: int) -> Place | None:
    """The same cells with other channels along `axis`."""
    if place is None or (place.shape == shape and not _is_input(place)):
        return place
    if _is_input(place) and len(shape) == 4:
        # A linear layer is what tells that the channels of an input lie last.
        place = Source(place.shape, (1, 2))
    if isinstance(place, Move) and place.kind == "widen" and place.axis == axis:
        place = place.parents[0]
    return Move("widen", shape, (place,), axis=axis)


def _told_apart(place: Place | None, tokens: Tensor) -> Place | None:
    """The place of tokens that enter a layer of a watched module; should their cells prove unknown, such as those of
    object queries, then at least they are told apart from here on."""
    if isinstance(place, Source) or (isinstance(place, Move) and place.kind == "either"):
        return place
    given = _given(tokens)
    if place is None or given is None:
        return place or given
    return Move("either", tuple(tokens.shape), (place, given))


def _is_lost(place: Place | None) -> bool:
    """Whether this is a sequence that begins at a module because nothing is known of what was before."""
    if isinstance(place, Move):
        return place.kind == "widen" and _is_lost(place.parents[0])
    return place is not None and place.given


def _is_input(place: Place) -> bool:
    return isinstance(place, Source) and place.given


def _kept(name, args, kwargs, operands, lineages, shape) -> Place | None:
    """Of an operation entry by entry, or of a sum or maximum over some axes; None for anything else."""
    if name in REDUCTIONS and (place := lineages[0].place) is not None and tuple(operands[0].shape) != shape:
        dim = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis"))
        keepdim = args[2] if len(args) > 2 else kwargs.get("keepdim", False)
        return None if dim is None or isinstance(dim, Tensor) else Move("least", shape, (place,), axis=(dim, keepdim))
    if not (is_entrywise(name) or name in REDUCTIONS):
        return None
    known = [pair for pair in zip(operands, lineages, strict=True) if pair[1].place is not None]
    same = [lineage for operand, lineage in known if tuple(operand.shape) == shape]
    if same:  # a map of scores knows of queries and keys, a bias of the keys alone
        same.sort(key=lambda lineage: (lineage.scores is None, _is_lost(lineage.place)))
        first, *others = same
        other = next((lineage.place for lineage in others if lineage.softmaxes - first.softmaxes), None)
        return Move("both", shape, (first.place, other)) if first.softmaxes and other is not None else first.place
    operand, lineage = known[0]
    tail = tuple(operand.shape)
    if len(tail) <= len(shape) and all(a in (1, b) for a, b in zip(tail[::-1], shape[::-1], strict=False)):
        return Move("expand", shape, (lineage.place,))
    return None


# --- attention -------------------------------------------------------------------------------------------------------


def _gates(operand: Tensor, operands: list[Tensor], lineages: list[Lineage]) -> bool:
    """Whether a factor is broadcast along features that are larger: it weighs these, and attends to nothing."""
    return any(
        lineage.active and other.numel() > operand.numel() for other, lineage in zip(operands, lineages, strict=True)
    )


def _leaves_values(name: str, args: tuple, kwargs: dict) -> bool:
    """Whether entries keep their values, their order and their number, but for parts along whole axes."""
    if name == "__getitem__":
        index = args[1] if type(args[1]) is tuple else (args[1],)
        return all(isinstance(part, (int, slice, type(None), type(...))) for part in index)
    is_dropout = name.strip("_") in DROPOUTS
    return name in COPIES or name in RESHAPINGS or (is_dropout and not _drops(name, args, kwargs))


def _drops(name: str, args: tuple, kwargs: dict) -> bool:
    if name.strip("_") not in DROPOUTS:
        return False
    rate = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
    training = args[2] if len(args) > 2 else kwargs.get("training", kwargs.get("train", True))
    return bool(training) and rate > 0


def _scaled(name, args, kwargs, operands, scores: Lineage) -> float | None:
    """What the product of query and key is multiplied with after this operation; None where that is not all."""
    if scores.scale is None:
        return None
    if name in COPIES or name in MOVES or name in AS_ANOTHER:
        return scores.scale
    if name in MULTIPLICATIONS | DIVISIONS and not kwargs and len(args) == 2:
        factor = next((_number(value) for value in args if _number(value) is not None), None)
        if factor is None or (name in DIVISIONS and (_number(args[0]) is not None or factor == 0)):
            return None
        return scores.scale * factor if name in MULTIPLICATIONS else scores.scale / factor
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, Tensor) and value.numel() == 1 and value.ndim <= 1 and is_readable(value):
        with torch.no_grad():
            return float(value)
    return None
