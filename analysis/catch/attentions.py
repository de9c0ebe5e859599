"""What is written down of each attention, and how it is recognised among the operations of a module.

An attention is a fused call, or a product in which one operand descends from a softmax (the weights) and the other is
an activation (the values). Products of two activations before that may be scores: their operands are copied, since a
module may change them in place afterwards.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from analysis.capture import MAX_MAP_CELLS
from analysis.catch.contractions import ONE_ROW, Contraction, Product, arranged, product_of, sizes
from analysis.catch.lineage import Lineage, Lineages, Move, Place, operands_of
from analysis.catch.operands import (
    FinishedMap,
    QueryKey,
    Weights,
    distance,
    flex_weights,
    fused_weights,
    plain_weights,
    tolerance,
)
from analysis.catch.operations import (
    CONVOLUTIONS,
    NEIGHBOURHOODS,
    PRODUCTS,
    REDUCTIONS,
    SOFTMAXES,
    is_readable,
    makes_other_numbers,
)
from analysis.catch.places import Replay, Sources, settle_channels
from analysis.catch.roles import Softmax, as_weights, is_map, runs_along
from analysis.catch.tokens import MapPlaces, NotOverTokens, TokenPlaces

UNREADABLE = (
    "ran on tensors whose numbers cannot be read (on the meta device, or inside torch.vmap); run it on a batch of real "
    "ones"
)
MAX_MAP_BYTES = 4 * MAX_MAP_CELLS**2
LOCAL = (
    "is outlook or another local attention: a layer gives each cell the weights of its neighbourhood, so that there "
    "are no keys and no softmax over tokens to show"
)
# How weights are written that sum to 1, though no softmax made them.
BY_HAND = "rows normalised by hand"
# Stands for scores outside the watched modules.
NOT_KEPT = Product(torch.empty(0), torch.empty(0), Contraction("k", "k", ""))


@dataclass(eq=False)
class Attention:
    """One attention that ran.

    form: how it was written, in words. weights: None where `problem` says why not. shape: (…, queries, keys), the
    heads and windows among the leading axes. error: how far rows · values lie from what was passed on, relative; None
    where dropout makes that random. allowed: how far they may. own: of our own block, what it does with the weights.
    frame: the run of the innermost module that it is part of. kept, heads, layout: which heads were kept and of how
    many, and how their tokens lie; None where all were.
    """

    form: str
    weights: Weights | None
    shape: tuple[int, ...]
    places: TokenPlaces | MapPlaces
    softmaxes: tuple[Softmax, ...] = ()
    error: float | None = 0.0
    allowed: float = 0.0
    dropped: bool = False
    multiplied_again: bool = False
    own: dict = field(default_factory=dict)
    problem: str | None = None
    frame: object = None
    kept: tuple[int, ...] | None = None
    heads: int | None = None
    layout: Any = None

    @property
    def has_queries(self) -> bool:
        """Whether queries and keys gave the weights, and not a layer of scores alone."""
        return not self.softmaxes or any(softmax.scores is not None for softmax in self.softmaxes)

    def numbers(self, sources: Sources) -> list[Tensor | None]:
        """Cell numbers of queries and keys, groups×N and groups×M, as its `places` give them."""
        distributes = isinstance(self.weights, FinishedMap) and self.weights.distributes
        return self.places.numbers(self.shape, sources, distributes)

    @property
    def is_step(self) -> bool:
        """Whether a softmax over the queries made its weights, and what they gathered was multiplied again."""
        return self.multiplied_again and not self.places.is_over_keys()

    @property
    def is_returned(self) -> bool:
        """Whether its module passed the weights on, for others to multiply with values."""
        return bool(self.softmaxes) and self.frame is None


@dataclass(eq=False)
class Call:
    """One call of a watched module. number: which of its calls, from 1. unweighted: products with weights that no
    softmax made; from_scores: whether those were products of queries and keys. unfolded: whether it took neighbourhoods
    apart. random: whether random numbers were drawn since the model began."""

    path: str
    module: nn.Module
    number: int
    attentions: list[Attention] = field(default_factory=list)
    softmaxes: list[Softmax] = field(default_factory=list)
    unweighted: int = 0
    from_scores: bool = False
    unfolded: bool = False
    random: bool = False
    ended: bool = False


@dataclass(frozen=True, eq=False)
class Gathering:
    """Where weights met values. value: …×M×C. put_back: …×N×C as the operation gave it."""

    attention: Attention
    value: Tensor
    put_back: Callable[[Tensor], Tensor]


def observe(
    call: Call | None, frame: object, lineages: Lineages, name: str, function, args: tuple, kwargs: dict, output: Any
) -> Gathering | None:
    """Follow one operation; inside a watched call, write down what it has to do with attention, and return what the
    operation gathered, if it did. frame: the run of the innermost module."""
    if name == "scaled_dot_product_attention":
        return _fused(call, lineages, output, *args, **kwargs)
    if name == "flex_attention":
        return _flexible(call, lineages, output, *args, **kwargs)
    if (product := _product(name, args, kwargs)) is not None and isinstance(output, Tensor):
        return _multiply(call, frame, lineages, product, output)
    if name in SOFTMAXES and isinstance(output, Tensor):
        _softmax(call, lineages, args, kwargs, output, -1 if name == "softmin" else 1)
    elif frame is not None or not lineages.prepares(name, args, kwargs, output):
        if call is not None and name in NEIGHBOURHOODS:
            call.unfolded = True
        if _tells_channels(name, args, kwargs):
            settle_channels(lineages.of(operands_of(args, kwargs)[0]).place)
        ended = _sums_over_softmax(lineages, name, args, kwargs)
        lineages.follow(name, function, args, kwargs, output, inside=call is not None, ended=ended)
    return None


def _product(name: str, args: tuple, kwargs: dict) -> Product | None:
    return product_of(name, args, kwargs) if name in PRODUCTS else None


def _tells_channels(name: str, args: tuple, kwargs: dict) -> bool:
    """Whether a layer takes the last axis for channels."""
    if name in ("layer_norm", "rms_norm"):
        return len(args[1] if len(args) > 1 else kwargs["normalized_shape"]) == 1
    return name == "linear"


def _sums_over_softmax(lineages: Lineages, name: str, args: tuple, kwargs: dict) -> bool:
    """Whether an operation sums over the axis that a softmax ran along, or may do so, as a product that is not known:
    what it gives are no weights any more."""
    operands = operands_of(args, kwargs)
    if not any(lineages.of(operand).softmaxes for operand in operands):
        return False
    first, ndim = lineages.of(operands[0]), operands[0].ndim
    if name == "linear" or name in CONVOLUTIONS:
        return not first.softmaxes or runs_along(first.place, -1 if name == "linear" else 1) is not False
    if name in REDUCTIONS and len(operands) == 1:
        dims = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis"))
        dims = range(ndim) if dims is None else [dims] if isinstance(dims, int) else dims
        return any(runs_along(first.place, axis) for axis in dims)
    return makes_other_numbers(name) and sum(lineages.of(operand).active for operand in operands) > 1


# --- fused calls -----------------------------------------------------------------------------------------------------


def _fused(
    call, lineages, output, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
    enable_gqa=False,
) -> Gathering | None:  # fmt: skip
    form, problem = "scaled_dot_product_attention", None
    if query.is_nested:
        problem = "ran on nested tensors, whose sequences differ in length; run it on padded ones"
    elif not (is_readable(query) and is_readable(key) and is_readable(value)):
        problem = UNREADABLE
    elif attn_mask is not None and attn_mask.nbytes > MAX_MAP_BYTES:
        problem = _too_large(attn_mask, "mask")
    if call is None or problem is not None:
        _unread(call, lineages, query, output, form, problem)
        return None
    weights = fused_weights(query, key, attn_mask, is_causal, scale, enable_gqa)
    return _read(call, lineages, form, weights, query, key, value, output, dropout_p > 0)


def _flexible(call, lineages, output, query, key, value, score_mod, block_mask, scale, *rest, **options):
    form, problem = "flex_attention", None
    if 4 * query.shape[:-1].numel() * key.shape[-2] > MAX_MAP_BYTES:
        problem = "runs flex_attention on a map of more than 1 GiB; run it on a smaller image or batch"
    if call is None or problem is not None:
        _unread(call, lineages, query, output[0], form, problem)
        return None
    weights = flex_weights(query, key, score_mod, block_mask, scale)
    return _read(call, lineages, form, weights, query, key, value, output[0], False)


def _unread(call: Call | None, lineages: Lineages, query, output, form: str, problem: str | None) -> None:
    """A fused call outside the watched modules, or one that cannot be shown."""
    attention = None
    if call is not None:
        places = TokenPlaces(None, None, ())
        attention = Attention(form, None, (), places, problem=problem)
        call.attentions.append(attention)
    _lies_as(lineages, output, lineages.of(query).place, attention)


def _read(call: Call, lineages: Lineages, form, weights: Weights, query, key, value, output, dropped) -> Gathering:
    places = TokenPlaces(lineages.of(query).place, lineages.of(key).place, weights.leading)
    if weights.leading and value.shape[-3] not in (1, weights.leading[-1]):  # fewer heads of values than of queries
        value = value.repeat_interleave(weights.leading[-1] // value.shape[-3], -3)
    error = None if dropped else distance(weights, value, output, weights.leading)
    shape = (*weights.leading, *weights.shape[1:])
    attention = Attention(form, weights, shape, places, error=error, allowed=tolerance(output.dtype), dropped=dropped)
    call.attentions.append(attention)
    _lies_as(lineages, output, places.query, attention)
    return Gathering(attention, value, lambda gathered: gathered)


def _too_large(tensor: Tensor, what: str) -> str:
    return (
        f"has a {what} of {tensor.nbytes / 2**30:.1f} GiB ({'×'.join(map(str, tensor.shape))}); {what}s are kept up to "
        f"{MAX_MAP_BYTES / 2**30:.0f} GiB: run it on a smaller image or batch"
    )


def _lies_as(lineages: Lineages, output: Tensor, query_place: Place | None, attention: Attention | None) -> None:
    """What an attention gives lies where its queries do."""
    place = query_place
    if place is not None and place.shape != tuple(output.shape):
        place = Move("widen", tuple(output.shape), (place,), axis=output.ndim - 1)
    lineages.put(output, Lineage(place, gathered=attention))


# --- written out -----------------------------------------------------------------------------------------------------


def _softmax(call: Call | None, lineages: Lineages, args: tuple, kwargs: dict, output: Tensor, sign: int) -> None:
    given = args[0] if args else kwargs["input"]
    before = lineages.of(given)
    axis = kwargs.get("dim", args[1] if len(args) > 1 and isinstance(args[1], int) else -1)
    if not before.active:
        lineages.put(output, before)
        return
    axis = (-1 if axis is None else axis) % max(output.ndim, 1)
    softmax = Softmax(before.scores, None if before.scale is None else sign * before.scale)
    if call is not None:
        call.softmaxes.append(softmax)
    place = Move("softmax", tuple(output.shape), (before.place,), axis=axis)
    altered = lineages.is_altered(given)
    lineages.put(output, Lineage(place, True, frozenset({softmax}), before.scores, altered=altered))


def _multiply(
    call: Call | None, frame: object, lineages: Lineages, product: Product, output: Tensor
) -> Gathering | None:
    """call: None outside the watched modules, where places are followed and no data is kept."""
    first, second = lineages.of(product.first), lineages.of(product.second)
    if not (first.active and second.active):
        _mixed(lineages, product, first, second, output)
        return None
    letters = product.letters
    first = as_weights(first, product.first, letters.first, letters.summed)
    second = as_weights(second, product.second, letters.second, letters.summed)
    for part in (first, second):
        if call is not None and part.gathered in call.attentions:
            part.gathered.multiplied_again = True
    if second.softmaxes and (not first.softmaxes or first.scores is None):
        product, first, second = product.swapped(), second, first
    shape, letters = tuple(output.shape), product.letters
    if first.softmaxes and is_map(second, product):
        place = Move("composed", shape, (first.place, second.place), letters=letters)
        softmaxes = first.softmaxes | second.softmaxes
        lineages.put(output, Lineage(place, True, softmaxes, first.scores, altered=True, dropped=first.dropped))
    elif first.softmaxes:
        attention = _weighted(product, first, call is not None, lineages.is_altered(product.first))
        attention.frame = frame
        rows = letters.out.index(letters.rows()) if letters.rows() else None
        place = Move("gathered", shape, (), partial(_asking, attention), axis=rows, letters=letters)
        lineages.put(output, Lineage(place, gathered=attention))
        if call is not None:
            call.attentions.append(attention)
            if call.unfolded and not attention.has_queries:
                attention.problem = LOCAL
            return None if attention.weights is None else _gathering(attention, product)
    elif first.scores is not None or second.scores is not None:
        if call is not None:
            call.unweighted, call.from_scores = call.unweighted + 1, True
        lineages.put(output, Lineage())
    elif (of_first := _is_linear(first, frame, letters.first, letters)) or _is_linear(
        second, frame, letters.second, letters
    ):
        # Queries meet what a softmax over keys alone gathered: these are no scores, and lie where the queries do.
        parents = (None, second.place) if of_first else (first.place, None)
        lineages.put(
            output, Lineage(Move("contract", shape, parents, letters=product.letters) if any(parents) else None)
        )
    else:
        place = Move("scores", shape, (first.place, second.place), letters=product.letters)
        lineages.put(
            output, Lineage(place, scores=_scores(call, product), scale=None if product.added else product.factor)
        )
    return None


def _is_linear(lineage: Lineage, frame: object, own: str, letters: Contraction) -> bool:
    """Whether this was gathered, in the same module, by a softmax that no queries took part in, and is summed over
    what was gathered: slots that look again are compared by their channels."""
    gathered = lineage.gathered
    if gathered is None or gathered.frame is not frame or gathered.has_queries:
        return False
    along = [runs_along(lineage.place, own.index(letter), "rows") for letter in letters.summed]
    return any(told is not False for told in along)


def _gathering(attention: Attention, product: Product) -> Gathering:
    letters, length = product.letters, sizes(product)
    row, summed = letters.rows(), letters.summed
    leading = "".join(a for a in letters.first if a not in row + summed)
    # Values of several heads that get the same weights have as many more channels.
    shared = [a for a, size in zip(letters.first, product.first.shape, strict=True) if size < length[a]]
    unused = (a for a in string.ascii_letters if a not in letters.first + letters.second)
    named = str.maketrans(dict(zip(shared, unused, strict=False)))
    second, out = letters.second.translate(named), letters.out.translate(named)
    channels = "".join(a for a in second if a not in leading + summed)
    value = arranged(product.second, second, leading + summed, channels)
    if not channels:
        value = value[..., None]
    length |= {a.translate(named): length[a] for a in shared}
    order = "".join(a for a in leading + row + channels if a not in shared)

    def put_back(gathered: Tensor) -> Tensor:
        return gathered.reshape([length[a] for a in order]).permute([order.index(a) for a in out])

    return Gathering(attention, value, put_back)


def _scores(call: Call | None, product: Product) -> Product:
    """The product that may turn out to be scores; with copies of its operands inside a watched module."""
    if call is None:
        return NOT_KEPT
    call.unweighted += 1
    return replace(product, first=product.first.detach().clone(), second=product.second.detach().clone())


def _mixed(lineages: Lineages, product: Product, first: Lineage, second: Lineage, output: Tensor) -> None:
    """A product with a constant: a layer, a mixing of heads, a table of relative positions."""
    own = first if first.active else second
    if not own.active:
        lineages.put(output, own)
        return
    places = (first.place if first.active else None, second.place if second.active else None)
    known = any(place is not None for place in places)
    place = Move("contract", tuple(output.shape), places, letters=product.letters) if known else None
    letters = product.letters.first if first.active else product.letters.second
    summed = [letters.index(letter) for letter in product.letters.summed]
    ended = bool(own.softmaxes) and any(runs_along(own.place, axis) for axis in summed)
    # A product of an operand with constants takes no part in the scores, unless it is made of scores.
    made = replace(own, place=place, scale=None, altered=True)
    lineages.put(output, replace(made, softmaxes=frozenset()) if ended else made)


def _weighted(product: Product, lineage: Lineage, keep: bool, altered: bool) -> Attention:
    """Weights meet values; product.first are the weights."""
    softmaxes = tuple(lineage.softmaxes)
    for softmax in softmaxes:
        softmax.used = True
    letters = product.letters
    row = letters.rows() or ONE_ROW
    if len(letters.summed) != 1:
        places = MapPlaces(lineage.place, letters.first, letters.first)
        return Attention(
            "a softmax", None, tuple(product.first.shape), places, softmaxes,
            problem="sums over other axes than one of keys where the weights of its softmax meet the values, so that "
            "there are no rows of queries; put the keys on one axis (flatten) before that product",
        )  # fmt: skip
    order = "".join(a for a in letters.first if a not in row + letters.summed) + row + letters.summed
    weights = arranged(product.first, letters.first, order)
    return _from_weights(weights, letters.first, order, lineage, altered, keep)


def _asking(attention: Attention, sources: Sources) -> Tensor | None:
    """Cell numbers of the queries, with the axes of the map but for the keys."""
    if id(attention) not in sources.asked:
        try:
            query, _ = attention.numbers(sources)
        except NotOverTokens:  # what such a product gives lies nowhere; it is refused when it is asked for
            query = None
        sources.asked[id(attention)] = None if query is None else query.reshape(attention.shape[:-1])
    return sources.asked[id(attention)]


def _from_weights(
    weights: Tensor, letters: str, order: str, lineage: Lineage, altered: bool, keep: bool = True
) -> Attention:
    """weights: …×queries×keys, arranged in `order` from the axes `letters` of the tensor at lineage.place. altered: as
    `Lineages.is_altered`. keep: them, or their query and key, not only where they lie."""
    softmaxes = tuple(lineage.softmaxes)
    places = MapPlaces(lineage.place, letters, order)
    attention = Attention("a softmax", None, tuple(weights.shape), places, softmaxes, dropped=lineage.dropped)
    if not keep:
        return attention
    if not is_readable(weights):
        attention.problem = UNREADABLE
        return attention
    if len(softmaxes) == 1 and softmaxes[0].scores is not None:
        scores, scale = softmaxes[0].scores, softmaxes[0].scale
        attention.weights = plain_weights(scores, scale, weights.detach(), every=altered or scale is None)
    if attention.weights is None and weights.nbytes > MAX_MAP_BYTES:
        attention.problem = _too_large(weights, "map")
    elif attention.weights is None:
        attention.weights = FinishedMap(weights.detach().clone())
    if not (isinstance(attention.weights, QueryKey) or all(softmax.named for softmax in softmaxes)):
        attention.form = BY_HAND
    return attention


def _has_keys(place: Place | None, output: Tensor) -> bool:
    """Whether an axis of the output is known to be one that a softmax ran along: features made of weights have none."""
    numbers = Replay("softmax").numbers(place)
    return numbers is not None and numbers.shape == output.shape


def returned(call: Call, lineages: Lineages, outputs: list[Tensor]) -> None:
    """A module that returns the weights of its softmax for others to multiply with values."""
    for output in outputs:
        lineage = lineages.of(output)
        softmaxes = [softmax for softmax in lineage.softmaxes if not softmax.used and softmax in call.softmaxes]
        if softmaxes and output.ndim >= 2 and lineage.scores is not None and _has_keys(lineage.place, output):
            softmaxes[0].used = True
            letters = "abcdefghijklmnop"[: output.ndim]
            altered = lineages.is_altered(output)
            call.attentions.append(_from_weights(output, letters, letters, lineage, altered))
