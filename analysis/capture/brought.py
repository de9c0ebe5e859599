"""Other people's queries, keys and attention maps, checked and brought into the form of a Capture."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from analysis.capture import suspicions

# What users bring: NumPy arrays, tensors on any device, lists of numbers.
Array = ArrayLike | torch.Tensor

# A finished map holds 4·N² bytes: 1 GiB at this many cells.
MAX_MAP_CELLS = 16384
QUERY_BLOCK = 128
SMALLEST = float(np.finfo(np.float32).tiny)
# What scores are computed in.
LARGEST_SCORE = float(np.finfo(np.float32).max)


# What each head has of its own.
OF_HEADS = ("query", "key", "attention")


class ValuesError(ValueError):
    """Numbers of OF_HEADS that no attention can have; of several heads, one alone may have them."""


def map_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) as whole positive numbers, or ValueError."""
    if not (height == int(height) >= 1 and width == int(width) >= 1):
        raise ValueError(f"the map is {height}×{width} cells; height and width must be whole numbers from 1 on")
    return int(height), int(width)


@dataclass(frozen=True)
class Extra:
    """Tokens of a sequence that are no cells: how many come first, and how many last. Raises ValueError below 0."""

    first: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        for name, count in (("class_tokens", self.first), ("last_tokens", self.last)):
            if count < 0:
                which = "leading" if name == "class_tokens" else "trailing"
                raise ValueError(f"{name} is {count}; it must be 0 or more {which} tokens that are no cells")

    @property
    def count(self) -> int:
        """Of both."""
        return self.first + self.last

    def cells(self, tokens: int) -> slice:
        """Where the cells are among all tokens."""
        return slice(self.first, tokens - self.last)

    def where_it_fits(self, array: Array, cells: tuple[int, int]) -> "Extra":
        """None of them for tokens …×N×d that are the cells alone, as keys or queries of another grid may be."""
        shape = tuple(array.shape) if isinstance(array, torch.Tensor) else np.shape(array)
        return NO_EXTRA if len(shape) in (2, 3) and shape[-2] == cells[0] * cells[1] else self


NO_EXTRA = Extra()


def is_map(array: Array, cells: tuple[int, int], extra: Extra = NO_EXTRA) -> bool:
    """Whether `cell_maps` reads this as d×h×w or heads×d×h×w, and not as a sequence of tokens."""
    shape = np.shape(array) if not isinstance(array, torch.Tensor) else tuple(array.shape)
    return len(shape) in (3, 4) and tuple(shape[-2:]) == cells and not extra.count


def require_scale(scale: float) -> None:
    """Raise ValueError unless it is a finite number above 0."""
    if not 0 < scale < math.inf:
        raise ValueError(f"scale is {scale}; it must be a finite number above 0, such as 1/√d")


def without_batch(array: Array, cells: tuple[int, int] | None = None) -> Array:
    """Without a leading axis of 1, the batch that networks return their attention in: 1×heads×N×d, 1×heads×N×N′.

    cells: of query and key, which may also be heads×d×h×w; None for a map.
    """
    shape = tuple(array.shape) if isinstance(array, torch.Tensor) else np.shape(array)
    maps = cells is not None and shape[-2:] == cells
    if len(shape) == (5 if maps else 4) and shape[0] == 1:
        return array[0]  # type: ignore[index]
    return array


def cell_maps(array: Array, name: str, cells: tuple[int, int], extra: Extra = NO_EXTRA) -> np.ndarray:
    """heads×d×h×w float32 from N×d, heads×N×d, d×h×w or heads×d×h×w, without the extra tokens."""
    array = as_floats(array, name)
    height, width = cells
    tokens = height * width + extra.count
    if is_map(array, cells, extra):
        maps = array.reshape(-1, *array.shape[-3:])
    elif array.ndim in (2, 3) and array.shape[-2] == tokens:
        rows = array[..., extra.cells(tokens), :].reshape(-1, height * width, array.shape[-1])
        maps = rows.swapaxes(1, 2).reshape(len(rows), -1, height, width)
    else:
        raise ValueError(_misfit(array.shape, name, cells, extra))
    if maps.size == 0:
        raise ValueError(f"{name} is {in_words(array.shape)}; it is empty")
    _require_finite(maps, name)
    return maps.copy()


def map_sizes(height: int, width: int, key_size: tuple[int, int] | None) -> tuple[tuple[int, int], tuple[int, int]]:
    """The queries' and the keys' (height, width), as `map_size`; key_size: None for the same."""
    cells = map_size(height, width)
    return cells, cells if key_size is None else map_size(*key_size)


def chosen_head(head: int | str, heads: int) -> int | None:
    """The index of the head to keep, None for the mean of several."""
    if head == "mean":
        return 0 if heads == 1 else None
    if isinstance(head, str) or not 0 <= head < heads:
        raise ValueError(f"head is {head!r}; choose 0 … {heads - 1}, or 'mean' for the mean of the heads' maps")
    return int(head)


def mean_attention(query: np.ndarray, key: np.ndarray) -> np.ndarray:
    """The mean over the heads of softmax(q·k): heads×d×h×w, heads×d×h′×w′ -> N×N′ float32, computed in float64 in
    blocks."""
    queries, keys = (torch.from_numpy(array).flatten(2) for array in (query, key))  # heads×d×N
    heads, _, count = queries.shape
    require_small_map(count, keys.shape[2], "give query and key, and choose one head")
    mean = torch.zeros(count, keys.shape[2])
    for one_query, one_key in zip(queries, keys, strict=True):
        one_query, one_key = one_query.double(), one_key.double()
        for start in range(0, count, QUERY_BLOCK):
            rows = slice(start, start + QUERY_BLOCK)
            mean[rows] += torch.softmax(one_query[:, rows].t() @ one_key, dim=-1) / heads
    return mean.numpy()


def dropped_share(query: np.ndarray, key: Array, extra: Extra, head: int | None) -> np.ndarray:
    """What softmax(q·k) gives to the extra tokens of `key`, before these are dropped: h×w float32.

    query: heads×d×h×w, scaled. key: N×d or heads×N×d with the extra tokens. head: None for the mean over heads.
    """
    keys = as_floats(key, "key").reshape(len(query), -1, query.shape[1])
    if head is not None:
        query, keys = query[head : head + 1], keys[head : head + 1]
    _require_finite(keys, "key")
    shares = torch.zeros(math.prod(query.shape[2:]))
    cells = extra.cells(keys.shape[1])
    for one_query, one_key in zip(torch.from_numpy(query).flatten(2), torch.from_numpy(keys), strict=True):
        for start in range(0, len(shares), QUERY_BLOCK):
            rows = slice(start, start + QUERY_BLOCK)
            weights = torch.softmax(one_query[:, rows].t() @ one_key.t(), dim=-1)
            shares[rows] += (1 - weights[:, cells].sum(-1)) / len(query)
    return shares.clamp(0, 1).reshape(query.shape[2:]).numpy()


@dataclass(frozen=True)
class FinishedRows:
    """One map N×N′ float32 of cells alone, and what each row gave elsewhere (h×w, None where nothing was dropped).

    notes: what is odd about the map, in sentences.
    """

    attention: np.ndarray
    dropped: np.ndarray | None
    notes: tuple[str, ...]


def one_map(
    attention: Array,
    cells: tuple[int, int],
    key_cells: tuple[int, int],
    head: int | str,
    extra: Extra,
    *,
    named: bool = False,
    signed: bool = False,
) -> FinishedRows:
    """One map of N×N′ or heads×N×N′, checked, without extra tokens; see `Capture.from_attention`.

    named: queries have no place, so that only keys have extra tokens.
    """
    require_small_map(math.prod(cells), math.prod(key_cells), "give query and key, and choose one head")
    maps = as_floats(attention, "attention")
    asking, asked = _fitting(maps.shape, cells, key_cells, extra, named)
    maps = maps.reshape(-1, *maps.shape[-2:])
    chosen = chosen_head(head, len(maps))
    wanted = maps if chosen is None else maps[chosen : chosen + 1]
    mean = np.zeros((math.prod(cells), math.prod(key_cells)), np.float32)
    dropped, sums = np.zeros(len(mean), np.float32), []
    for one in wanted:
        _require_finite(one, "attention")
        if one.min() < 0 and not signed:
            raise ValuesError(
                f"attention goes down to {one.min():.3g}; it must not be negative: give the map after its softmax"
            )
        if not signed:
            suspicions.require_rows(one)
        every = one[asking.cells(len(one))]
        rows = every[:, asked.cells(one.shape[1])]
        sums.append(every.sum(axis=1))
        if asked.count:
            of_cells = rows.sum(axis=1, keepdims=True)
            elsewhere = np.where(sums[-1] > 0, 1 - of_cells[:, 0] / np.maximum(sums[-1], SMALLEST), 0)
            dropped += elsewhere / np.float32(len(wanted))
            rows = np.divide(rows, of_cells, out=np.zeros_like(rows), where=of_cells > 0)
        mean += rows / np.float32(len(wanted))
    share = dropped.reshape(cells) if asked.count else None
    return FinishedRows(mean, share, suspicions.of_sums(np.concatenate(sums)))


def _fitting(
    shape: tuple[int, ...], cells: tuple[int, int], key_cells: tuple[int, int], extra: Extra, named: bool
) -> tuple[Extra, Extra]:
    """The extra tokens of queries and keys in a map of this shape."""
    counts = math.prod(cells), math.prod(key_cells)
    same = cells == key_cells and not named
    both = [NO_EXTRA if named else extra, extra]
    if len(shape) in (2, 3) and not same:
        both = [NO_EXTRA if size == count else own for own, size, count in zip(both, shape[-2:], counts, strict=True)]
    wanted = tuple(count + own.count for count, own in zip(counts, both, strict=True))
    if len(shape) in (2, 3) and tuple(shape[-2:]) == wanted:
        return both[0], both[1]
    size = f"{wanted[0]}×{wanted[1]}"
    where = f"{cells[0]}×{cells[1]} cells" + ("" if same else f" that ask {key_cells[0]}×{key_cells[1]} cells")
    with_extra = f" and {_tokens(extra)}" if extra.count else ""
    layers = suspicions.of_layers(shape) if shape[-2:] == wanted else ""
    raise ValueError(
        f"attention is {in_words(shape)} but {where}{with_extra} need {size}, or heads×{size}"
        + (layers or _token_hint(shape[-1] if shape else 0, counts[1], extra))
    )


def as_array(array: Array) -> np.ndarray:
    """What came as a NumPy array, which may share its memory."""
    return array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)


def as_floats(array: Array, name: str) -> np.ndarray:
    """The array in float32; it may share the memory of what came."""
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        array = array.float() if array.dtype.is_floating_point else array
    array = as_array(array)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} is of type {array.dtype}; it must hold real numbers")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        return array.astype(np.float32, copy=False)


def require_alike(query: np.ndarray, key: np.ndarray) -> None:
    """Raise ValueError unless both, heads×d×h×w, have as many heads and channels."""
    if query.shape[:2] != key.shape[:2]:
        raise ValueError(
            f"query has {len(query)} heads of {query.shape[1]} channels but key {len(key)} of {key.shape[1]}; both "
            "must have the same"
        )


def require_computable(query: np.ndarray, key: np.ndarray, **others: np.ndarray) -> None:
    """Raise ValueError, in one sentence, unless all arrays are finite and no score q·k can leave float32.

    query, key: …×d×h×w, d channels; heads apart. |q·k| ≤ ‖q‖·‖k‖ (Cauchy and Schwarz), so the longest of each tell.
    """
    for name, maps in (("query", query), ("key", key)):
        _require_finite(maps, name)
    longest = [np.linalg.norm(maps.astype(np.float64), axis=-3).max(axis=(-2, -1)) for maps in (query, key)]
    if (bound := np.max(longest[0] * longest[1])) >= LARGEST_SCORE:
        raise ValuesError(
            f"the scores of query and key can reach {bound:.2g}, and attention is computed up to {LARGEST_SCORE:.2g}; "
            "both must be smaller"
        )
    for name, array in others.items():
        _require_finite(array, name)


def _require_finite(array: np.ndarray, name: str) -> None:
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        kind = ValuesError if name in OF_HEADS else ValueError
        raise kind(f"{name} holds {bad} of {array.size} values that are NaN or infinite; it must be finite")


def require_small_map(queries: int, keys: int, advice: str) -> None:
    """Raise ValueError, with the advice, for a map of more than 1 GiB."""
    if queries * keys > MAX_MAP_CELLS**2:
        size = f"{queries} cells" if queries == keys else f"{queries}×{keys} cells"
        raise ValueError(
            f"a map of {size} takes {4 * queries * keys / 2**30:.1f} GiB; maps go up to {MAX_MAP_CELLS} cells: {advice}"
        )


def _misfit(shape: tuple[int, ...], name: str, cells: tuple[int, int], extra: Extra) -> str:
    count = cells[0] * cells[1]
    tokens = count + extra.count
    wanted = f"{tokens}×d or heads×{tokens}×d" + ("" if extra.count else f" or d×{cells[0]}×{cells[1]}")
    and_extra = f" and {_tokens(extra)}" if extra.count else ""
    words = f"{name} is {in_words(shape)} but {cells[0]}×{cells[1]} = {count} cells{and_extra} need {wanted}"
    if len(shape) > 1 and shape[-1] == tokens:
        return f"{words}: swap its last two axes"
    return words + _token_hint(shape[-2] if len(shape) > 1 else 0, count, extra, "key_size" if name == "key" else "")


def _token_hint(tokens: int, count: int, extra: Extra, other_grid: str = "key_size") -> str:
    """What to do about more or fewer tokens than cells. Where the extra ones lie cannot be told from their number."""
    surplus = tokens - count
    if 0 < surplus <= 8 and surplus != extra.count:
        one = surplus == 1
        first = "if the first one is a class token" if one else f"if the first {surplus} are class tokens"
        last = "if it is the last one" if one else "if they are the last ones, or padding"
        return f"; {first}, pass class_tokens={surplus}; {last}, pass last_tokens={surplus}"
    if surplus and tokens and other_grid:
        more = "more" if surplus > 0 else "fewer"
        return (
            f"; there are {more} keys than cells: if they lie on a grid of their own, pass key_size=(height, width), "
            "or key_height and key_width in a file"
        )
    return ""


def _tokens(extra: Extra) -> str:
    words = []
    if extra.first or not extra.last:
        words.append(f"{extra.first} class token{'s' if extra.first > 1 else ''}")
    if extra.last:
        words.append(f"{extra.last} last token{'s' if extra.last > 1 else ''}")
    return " and ".join(words)


def in_words(shape: tuple[int, ...]) -> str:
    """A shape, as in messages: 3×15×4."""
    return "×".join(map(str, shape)) or "a single number"
