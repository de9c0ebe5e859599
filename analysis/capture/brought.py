"""Other people's arrays, checked and brought into the form of a Capture: queries and keys, maps, labels, classes."""

import colorsys
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import ArrayLike

from analysis.geometry import Grid
from dnl.classes import LabelSet

# What users bring: NumPy arrays, tensors on any device, lists of numbers.
Array = ArrayLike | torch.Tensor

# In labels without a label set: no class.
IGNORE_INDEX = 255
# A finished map holds 4·N² bytes: 1 GiB at this many cells.
MAX_MAP_CELLS = 16384
# A distribution may miss 1 by this much: half precision.
SUM_TOLERANCE = 0.01
QUERY_BLOCK = 128
# What scores are computed in.
LARGEST_SCORE = float(np.finfo(np.float32).max)


def named_classes(names: Sequence[str], ignore_index: int = IGNORE_INDEX) -> LabelSet:
    """A label set of these classes, with colours that lie far apart for neighbouring indices."""
    golden = 0.618  # turns of hue from one class to the next: never the same one twice
    palette = (colorsys.hsv_to_rgb(index * golden % 1, 0.55 + 0.3 * (index % 2), 0.85) for index in range(len(names)))
    colours = tuple((round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in palette)
    return LabelSet("own classes", tuple(map(str, names)), colours, ignore_index)


def map_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) as whole positive numbers, or ValueError."""
    if not (height == int(height) >= 1 and width == int(width) >= 1):
        raise ValueError(f"the map is {height}×{width} cells; height and width must be whole numbers from 1 on")
    return int(height), int(width)


def cell_maps(array: Array, name: str, cells: tuple[int, int], class_tokens: int = 0) -> np.ndarray:
    """heads×d×h×w float32 from N×d, heads×N×d, d×h×w or heads×d×h×w, without the leading class tokens."""
    array = _floats(array, name)
    height, width = cells
    tokens = height * width + class_tokens
    if class_tokens < 0:
        raise ValueError(f"class_tokens is {class_tokens}; it must be 0 or more leading tokens that are no cells")
    if array.ndim in (3, 4) and array.shape[-2:] == cells and not class_tokens:
        maps = array.reshape(-1, *array.shape[-3:])
    elif array.ndim in (2, 3) and array.shape[-2] == tokens:
        rows = array[..., class_tokens:, :].reshape(-1, height * width, array.shape[-1])
        maps = rows.swapaxes(1, 2).reshape(len(rows), -1, height, width)
    else:
        raise ValueError(_misfit(array.shape, name, cells, class_tokens))
    if maps.size == 0:
        raise ValueError(f"{name} is {_shape(array.shape)}; it is empty")
    _require_finite(maps, name)
    return maps.copy()


def chosen_head(head: int | str, heads: int) -> int | None:
    """The index of the head to keep, None for the mean of several."""
    if head == "mean":
        return 0 if heads == 1 else None
    if isinstance(head, str) or not 0 <= head < heads:
        raise ValueError(f"head is {head!r}; choose 0 … {heads - 1}, or 'mean' for the mean of the heads' maps")
    return int(head)


def mean_attention(query: np.ndarray, key: np.ndarray) -> np.ndarray:
    """The mean over the heads of softmax(q·k): heads×d×h×w twice -> N×N float32, computed in float64 in blocks."""
    queries, keys = (torch.from_numpy(array).flatten(2) for array in (query, key))  # heads×d×N
    heads, _, count = keys.shape
    _require_small_map(count)
    mean = torch.zeros(count, count)
    for one_query, one_key in zip(queries, keys, strict=True):
        one_query, one_key = one_query.double(), one_key.double()
        for start in range(0, count, QUERY_BLOCK):
            rows = slice(start, start + QUERY_BLOCK)
            mean[rows] += torch.softmax(one_query[:, rows].t() @ one_key, dim=-1) / heads
    return mean.numpy()


def one_map(attention: Array, cells: tuple[int, int], head: int | str, class_tokens: int) -> np.ndarray:
    """One N×N float32 map of N×N or heads×N×N, checked, without class tokens; see `Capture.from_attention`."""
    count = cells[0] * cells[1]
    tokens = count + class_tokens
    _require_small_map(count)
    maps = _floats(attention, "attention")
    if class_tokens < 0 or maps.ndim not in (2, 3) or maps.shape[-2:] != (tokens, tokens):
        extra = f" and {_tokens(class_tokens)}" if class_tokens else ""
        raise ValueError(
            f"attention is {_shape(maps.shape)} but {cells[0]}×{cells[1]} cells{extra} need {tokens}×{tokens}, or "
            f"heads×{tokens}×{tokens}" + _token_hint(maps.shape[-1] if maps.ndim else 0, count, class_tokens)
        )
    maps = maps.reshape(-1, tokens, tokens)
    chosen = chosen_head(head, len(maps))
    wanted = maps if chosen is None else maps[chosen : chosen + 1]
    mean = np.zeros((count, count), np.float32)
    for one in wanted:
        _require_finite(one, "attention")
        if one.min() < 0:
            raise ValueError(
                f"attention goes down to {one.min():.3g}; it must not be negative: give the map after its softmax"
            )
        rows = one[class_tokens:, class_tokens:]
        if class_tokens:
            sums = rows.sum(axis=1, keepdims=True)
            rows = np.divide(rows, sums, out=np.zeros_like(rows), where=sums > 0)
        mean += rows / np.float32(len(wanted))
    return mean


class Description(TypedDict, total=False):
    """What a capture may know beside its attention, image and labels.

    prediction: integer class indices, as labels. label_set: None names the classes "class 0", "class 1" … and ignores
    label 255. gate, lr_kernel: what the model itself does, if anything; others can be applied after the fact. name: of
    the image.
    """

    prediction: Array | None
    label_set: LabelSet | None
    gate: str | None
    lr_kernel: int | None
    name: str


def described(
    cells: tuple[int, int],
    class_probs: Array | None,
    image: Array | None,
    labels: Array | None,
    *,
    prediction: Array | None = None,
    label_set: LabelSet | None = None,
    gate: str | None = None,
    lr_kernel: int | None = None,
    name: str = "image",
) -> dict[str, Any]:
    """What a capture knows beside its attention, checked, as keyword arguments of Capture; see `Description`."""
    if class_probs is not None:
        class_probs = _distribution(class_probs, cells)
    elif gate is not None:
        raise ValueError(f"gate {gate!r} needs class_probs (classes×h×w); give them, or no gate")
    if image is not None:
        image = _numpy(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"the image is {_shape(image.shape)} {image.dtype}; it must be H×W×3 uint8 RGB")
        image = image.copy()
    labels, prediction = _class_indices(labels, "labels"), _class_indices(prediction, "prediction")
    given = [array for array in (labels, prediction) if array is not None]
    size = max((array.shape for array in given), default=cells) if image is None else image.shape[:2]
    if label_set is None:
        label_set = _numbered_classes(class_probs, given)
    elif class_probs is not None and len(class_probs) != label_set.num_classes:
        raise ValueError(
            f"class_probs has {len(class_probs)} classes but label set {label_set.name!r} has "
            f"{label_set.num_classes}; both must have the same"
        )
    return {
        "class_probs": class_probs,
        "image": image,
        "labels": _on_pixels(labels, "labels", size, cells, label_set),
        "prediction": _on_pixels(prediction, "prediction", size, cells, label_set),
        "label_set": label_set,
        "gate": gate,
        "lr_kernel": lr_kernel,
        "name": name,
    }


def _numbered_classes(class_probs: np.ndarray | None, given: list[np.ndarray]) -> LabelSet | None:
    """As many classes as class_probs has, or else as the labels name; None where neither says anything."""
    if class_probs is not None:
        count = len(class_probs)
    else:
        counts = [int(known.max()) + 1 for array in given if (known := array[array != IGNORE_INDEX]).size]
        count = max(counts, default=0)
    if count > IGNORE_INDEX:
        raise ValueError(f"there are {count} classes; at most {IGNORE_INDEX} can be told apart (label 255 means none)")
    return named_classes([f"class {index}" for index in range(count)]) if given or class_probs is not None else None


def _class_indices(array: Array | None, name: str) -> np.ndarray | None:
    if array is None:
        return None
    array = _numpy(array)
    if array.ndim != 2 or array.dtype.kind not in "iu" or array.size == 0:
        raise ValueError(f"{name} are {_shape(array.shape)} {array.dtype}; they must be H×W integer class indices")
    return array.astype(array.dtype.newbyteorder("="))  # a copy


def _on_pixels(
    array: np.ndarray | None, name: str, size: tuple[int, ...], cells: tuple[int, int], label_set: LabelSet | None
) -> np.ndarray | None:
    """Class indices at the image's size, checked to be classes; one a cell is spread over the cell's pixels."""
    if array is None:
        return None
    assert label_set is not None  # where there are classes, they have names at least by number
    known = ((array >= 0) & (array < label_set.num_classes)) | (array == label_set.ignore_index)
    if not known.all():
        strangers = ", ".join(map(str, np.unique(array[~known])[:4]))
        raise ValueError(
            f"{name} hold {strangers}, no class of 0 … {label_set.num_classes - 1} "
            f"({label_set.ignore_index} means none); correct them or name more classes"
        )
    if array.shape == tuple(size):
        return array
    if array.shape == cells:
        height, width = size
        return Grid((height, width), cells).spread(array, label_set.ignore_index)
    raise ValueError(
        f"{name} are {_shape(array.shape)} but the image is {_shape(size)} and the map {_shape(cells)}; give them "
        "the size of either"
    )


def _distribution(class_probs: Array, cells: tuple[int, int]) -> np.ndarray:
    maps = cell_maps(class_probs, "class_probs", cells)
    if len(maps) != 1:
        raise ValueError(f"class_probs has {len(maps)} heads; it must be classes×h×w or N×classes")
    sums = maps[0].sum(axis=0)
    if maps.min() < 0 or np.abs(sums - 1).max() > SUM_TOLERANCE:
        raise ValueError(
            f"class_probs reaches down to {maps.min():.3g} and sums to {sums.min():.3g} … {sums.max():.3g} over the "
            "classes of a cell; it must be a distribution: apply a softmax over the classes"
        )
    return maps[0]


def _numpy(array: Array) -> np.ndarray:
    return array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)


def _floats(array: Array, name: str) -> np.ndarray:
    """The array in float32; it may share the memory of what came."""
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        array = array.float() if array.dtype.is_floating_point else array
    array = _numpy(array)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} is of type {array.dtype}; it must hold real numbers")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        return array.astype(np.float32, copy=False)


def require_computable(query: np.ndarray, key: np.ndarray, **others: np.ndarray) -> None:
    """Raise ValueError, in one sentence, unless all arrays are finite and no score q·k can leave float32.

    query, key: …×d×h×w, d channels; heads apart. |q·k| ≤ ‖q‖·‖k‖ (Cauchy and Schwarz), so the longest of each tell.
    """
    for name, maps in (("query", query), ("key", key)):
        _require_finite(maps, name)
    longest = [np.linalg.norm(maps.astype(np.float64), axis=-3).max(axis=(-2, -1)) for maps in (query, key)]
    if (bound := np.max(longest[0] * longest[1])) >= LARGEST_SCORE:
        raise ValueError(
            f"the scores of query and key can reach {bound:.2g}, and attention is computed up to {LARGEST_SCORE:.2g}; "
            "both must be smaller"
        )
    for name, array in others.items():
        _require_finite(array, name)


def _require_finite(array: np.ndarray, name: str) -> None:
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise ValueError(f"{name} holds {bad} of {array.size} values that are NaN or infinite; it must be finite")


def _require_small_map(count: int) -> None:
    if count > MAX_MAP_CELLS:
        raise ValueError(
            f"a map of {count} cells takes {4 * count**2 / 2**30:.1f} GiB; maps go up to {MAX_MAP_CELLS} cells: give "
            "query and key, and choose one head"
        )


def _misfit(shape: tuple[int, ...], name: str, cells: tuple[int, int], class_tokens: int) -> str:
    count = cells[0] * cells[1]
    tokens = count + class_tokens
    wanted = f"{tokens}×d or heads×{tokens}×d" + ("" if class_tokens else f" or d×{cells[0]}×{cells[1]}")
    extra = f" and {_tokens(class_tokens)}" if class_tokens else ""
    words = f"{name} is {_shape(shape)} but {cells[0]}×{cells[1]} = {count} cells{extra} need {wanted}"
    if len(shape) > 1 and shape[-1] == tokens:
        return f"{words}: swap its last two axes"
    return words + _token_hint(shape[-2] if len(shape) > 1 else 0, count, class_tokens)


def _token_hint(tokens: int, count: int, class_tokens: int) -> str:
    surplus = tokens - count
    if 0 < surplus <= 8 and surplus != class_tokens:
        what = "one is a class token" if surplus == 1 else f"{surplus} are class tokens"
        return f"; if the first {what}, pass class_tokens={surplus}"
    return ""


def _tokens(count: int) -> str:
    return f"{count} class token{'s' if count > 1 else ''}"


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"
