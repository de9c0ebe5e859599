"""What a capture may know beside its attention: image, labels, prediction, classes, and how its cells lie."""

import colorsys
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from analysis.capture import suspicions
from analysis.capture.brought import Array, as_array, as_floats, cell_maps, in_words
from analysis.geometry import PLACEMENTS, Grid
from dnl.classes import LabelSet

# In labels without a label set: no class.
IGNORE_INDEX = 255
# A distribution may miss 1 by this much: half precision.
SUM_TOLERANCE = 0.01


def named_classes(names: Sequence[str], ignore_index: int = IGNORE_INDEX) -> LabelSet:
    """A label set of these classes, with colours that lie far apart for neighbouring indices."""
    golden = 0.618  # turns of hue from one class to the next: never the same one twice
    palette = (colorsys.hsv_to_rgb(index * golden % 1, 0.55 + 0.3 * (index % 2), 0.85) for index in range(len(names)))
    colours = tuple((round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in palette)
    return LabelSet("own classes", tuple(map(str, names)), colours, ignore_index)


class Description(TypedDict, total=False):
    """What a capture may know beside its attention, image and labels.

    prediction: integer class indices, as labels. label_set: None names the classes "class 0", "class 1" … and ignores
    label 255. gate, lr_kernel: what the model itself does, if anything; others can be applied after the fact. name: of
    the image. placement: how the cells lie on the image, one of analysis.geometry.PLACEMENTS; None takes "corners" for
    maps d×h×w, and "blocks" for tokens and finished maps, whose cells are patches as a rule. crop: (top, left, height,
    width) in pixels of the image, where the model saw a part of it only. query_names: of queries without a place, such
    as object queries, one each; height×width is 1×Q then. query_labels: their Q class indices, where known. dropped:
    h×w, which share of each query's row went to tokens that are no cells, if they were dropped before.
    """

    prediction: Array | None
    label_set: LabelSet | None
    gate: str | None
    lr_kernel: int | None
    name: str
    placement: str | None
    crop: tuple[int, int, int, int] | None
    query_names: Sequence[str] | None
    query_labels: Array | None
    dropped: Array | None


def described(
    cells: tuple[int, int],
    key_cells: tuple[int, int],
    class_probs: Array | None,
    image: Array | None,
    labels: Array | None,
    *,
    placement: str | None = "corners",
    crop: tuple[int, int, int, int] | None = None,
    prediction: Array | None = None,
    label_set: LabelSet | None = None,
    gate: str | None = None,
    lr_kernel: int | None = None,
    name: str = "image",
    query_names: Sequence[str] | None = None,
    query_labels: Array | None = None,
    dropped: Array | None = None,
) -> dict[str, Any]:
    """What a capture knows beside its attention, checked, as keyword arguments of Capture; see `Description`."""
    if class_probs is not None:
        class_probs = _distribution(class_probs, cells)
    elif gate is not None:
        raise ValueError(f"gate {gate!r} needs class_probs (classes×h×w); give them, or no gate")
    image = None if image is None else _photo(as_array(image))
    labels, prediction = _class_indices(labels, "labels"), _class_indices(prediction, "prediction")
    given = [array for array in (labels, prediction) if array is not None]
    unnamed = () if label_set is not None or class_probs is not None else suspicions.of_unnamed_labels(given)
    if label_set is None:
        label_set = _numbered_classes(class_probs, given)
    elif class_probs is not None and len(class_probs) != label_set.num_classes:
        raise ValueError(
            f"class_probs has {len(class_probs)} classes but label set {label_set.name!r} has "
            f"{label_set.num_classes}; both must have the same"
        )
    grids = [key_cells] if query_names is not None else [cells, key_cells]
    size = max((array.shape for array in given), default=key_cells) if image is None else image.shape[:2]
    of_pixels = image is not None or tuple(size) not in grids
    if not of_pixels:
        crop = None
    lying = _checked_placement(placement, crop, size, key_cells)
    names, query_labels = _named_queries(cells, query_names, query_labels, label_set)
    proportions = suspicions.of_proportions(size if crop is None else crop[2:], key_cells) if of_pixels else ()
    few = suspicions.of_few_pixels(size, grids) if of_pixels and image is None else ()
    maps = {"labels": labels, "prediction": prediction}
    on_pixels = {name: _on_pixels(array, name, size, grids, label_set, lying) for name, array in maps.items()}
    blended = (note for name, array in maps.items() if array is not None for note in _blended(array, name, grids))
    return {
        **lying,
        "class_probs": class_probs,
        "image": image,
        **on_pixels,
        "label_set": label_set,
        "gate": gate,
        "lr_kernel": lr_kernel,
        "name": name,
        "query_names": names,
        "query_labels": query_labels,
        "dropped": _share(dropped, cells),
        "notes": (*unnamed, *blended, *proportions, *few),
    }


def _photo(image: np.ndarray) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"the image is {in_words(image.shape)} {image.dtype}; it must be H×W×3 uint8 RGB")
    return image.copy()


def _checked_placement(placement, crop, size: tuple[int, ...], cells: tuple[int, int]) -> dict[str, Any]:
    if placement not in PLACEMENTS:
        raise ValueError(f"placement is {placement!r}; choose one of {', '.join(PLACEMENTS)}")
    if crop is not None:
        if len(crop) != 4 or any(side != int(side) for side in crop):
            raise ValueError(f"crop is {crop!r}; it must be (top, left, height, width), whole numbers of pixels")
        crop = tuple(map(int, crop))
        Grid((size[0], size[1]), cells, placement, crop)  # that it lies on the image
    return {"placement": placement, "crop": crop}


def _named_queries(
    cells: tuple[int, int], names: Sequence[str] | None, labels: Array | None, label_set: LabelSet | None
) -> tuple[tuple[str, ...] | None, np.ndarray | None]:
    if names is None:
        if labels is not None:
            raise ValueError("query_labels are for queries without a place; name these with query_names")
        return None, None
    if cells != (1, len(names)):
        raise ValueError(
            f"there are {len(names)} query_names, but {cells[0]}×{cells[1]} queries; queries without a place are "
            f"1×{len(names)}"
        )
    if labels is None:
        return tuple(map(str, names)), None
    indices = as_array(labels)
    if indices.shape != (len(names),) or indices.dtype.kind not in "iu":
        raise ValueError(
            f"query_labels are {in_words(indices.shape)} {indices.dtype}; they must be {len(names)} integers, one "
            "class index for each query"
        )
    ignored = IGNORE_INDEX if label_set is None else label_set.ignore_index
    count = IGNORE_INDEX if label_set is None else label_set.num_classes
    if not (((indices >= 0) & (indices < count)) | (indices == ignored)).all():
        raise ValueError(f"query_labels must be classes 0 … {count - 1}, or {ignored} for none")
    return tuple(map(str, names)), indices.astype(np.int64)


def _share(dropped: Array | None, cells: tuple[int, int]) -> np.ndarray | None:
    if dropped is None:
        return None
    share = as_floats(dropped, "dropped")
    if share.shape != cells or not (share.min() >= 0 and share.max() <= 1):
        raise ValueError(f"dropped is {in_words(share.shape)}; it must be {cells[0]}×{cells[1]} shares from 0 to 1")
    return share.copy()


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
    array = as_array(array)
    if array.ndim != 2 or array.dtype.kind not in "iu" or array.size == 0:
        raise ValueError(f"{name} are {in_words(array.shape)} {array.dtype}; they must be H×W integer class indices")
    return array.astype(array.dtype.newbyteorder("="))  # a copy


def _blended(array: np.ndarray, name: str, grids: list[tuple[int, int]]) -> tuple[str, ...]:
    return () if array.shape in grids else suspicions.of_blended_labels(array, name)


def _on_pixels(
    array: np.ndarray | None,
    name: str,
    size: tuple[int, ...],
    grids: list[tuple[int, int]],
    label_set: LabelSet | None,
    lying: dict[str, Any],
) -> np.ndarray | None:
    """Class indices at the image's size, checked to be classes; one a cell of a grid is spread over its pixels."""
    if array is None:
        return None
    assert label_set is not None  # where there are classes, they have names at least by number
    known = ((array >= 0) & (array < label_set.num_classes)) | (array == label_set.ignore_index)
    if not known.all():
        strangers = ", ".join(map(str, np.unique(array[~known])[:4]))
        hint = "; ".join(("correct them or name more classes", *_blended(array, name, grids)))
        raise ValueError(
            f"{name} hold {strangers}, no class of 0 … {label_set.num_classes - 1} "
            f"({label_set.ignore_index} means none); {hint}"
        )
    if array.shape == tuple(size):
        return array
    if array.shape in grids:
        height, width = size
        return Grid((height, width), array.shape, **lying).spread(array, label_set.ignore_index)
    maps = " or ".join(dict.fromkeys(map(in_words, grids)))
    raise ValueError(
        f"{name} are {in_words(array.shape)} but the image is {in_words(size)} and the map {maps}; give them "
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
