"""Capture: everything that the analysis of one image's attention needs, taken out of the network as plain arrays."""

import dataclasses
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, Unpack

import numpy as np

from analysis.capture import brought
from analysis.capture.brought import Array, Extra, in_words
from analysis.capture.description import IGNORE_INDEX, Description, described
from analysis.geometry import Grid
from analysis.options import MapOptions, stages_there
from dnl.classes import LabelSet

T = TypeVar("T")

PLAIN_GREY = 128


def capture_of_qk(
    query: Array,
    key: Array,
    height: int,
    width: int,
    class_probs: Array | None = None,
    image: Array | None = None,
    labels: Array | None = None,
    *,
    head: int | str = "mean",
    scale: float = 1.0,
    class_tokens: int = 0,
    last_tokens: int = 0,
    key_size: tuple[int, int] | None = None,
    lr_weights: str = "learnt",
    **description: Unpack[Description],
) -> "Capture":
    """A capture of any attention of the form softmax(scale · q·k), from the queries and keys of one image.

    query, key: NumPy arrays or torch tensors of N×d, heads×N×d, d×h×w or heads×d×h×w, N = height·width row by row, or
    a batch of one such. (Where both readings fit, h×w counts.) scale: what the model multiplies q·k with, 1/√d as a
    rule; multiplied into the stored query, so that softmax(q·k) is the model's attention, and LR's σ(q·k) see it too.
    key_size: (h′, w′) where the keys are cells of another grid, as under spatial reduction; LR has its box alone then.
    class_tokens, last_tokens: how many leading and trailing tokens are no cells (class and register tokens, padding).
    They are dropped as queries and as keys; each row is thereby spread over the cells alone, as if renormalised, and
    `dropped` says what they had. With a key_size or query_names, a side without such tokens may come so.
    head: which head; or "mean", the mean of the heads' maps: no attention of any query and key, so that of several
    heads it is stored as a map of 4·N·N′ bytes (N up to MAX_MAP_CELLS); choose one head to have LR's learnt weights.

    class_probs: classes×h×w or N×classes, a distribution over the classes in each cell, needed by GR.
    image: H×W×3 uint8. labels: integer class indices as H×W of the image, or one a cell as h×w (or h′×w′).
    lr_weights: what the model itself does, if it has LR. description: see `description.Description`.
    Inputs are not changed. Warns of what is odd. Raises ValueError, in one sentence, for whatever does not fit.
    """
    cells, key_cells = brought.map_sizes(height, width, key_size)
    query, key = brought.without_batch(query, cells), brought.without_batch(key, key_cells)
    brought.require_scale(scale)
    named = description.get("query_names") is not None
    asking = asked = Extra(class_tokens, last_tokens)
    if named or key_size is not None:  # either side may come without
        asking = brought.NO_EXTRA if named else asking.where_it_fits(query, cells)
        asked = asked.where_it_fits(key, key_cells)
    with np.errstate(over="ignore"):  # infinite queries are refused below
        queries = brought.cell_maps(query, "query", cells, asking) * np.float32(scale)
    keys = brought.cell_maps(key, "key", key_cells, asked)
    brought.require_alike(queries, keys)
    brought.require_computable(queries, keys)
    if description.get("placement") is None:
        description["placement"] = "corners" if brought.is_map(key, key_cells, asked) else "blocks"
    rest = described(cells, key_cells, class_probs, image, labels, **description)
    rest["key_size"] = key_cells if key_size is not None or named else None
    chosen = brought.chosen_head(head, len(queries))
    if asked.count:
        rest["dropped"] = brought.dropped_share(queries, key, asked, chosen)
    _say(rest["notes"])
    if chosen is None:
        attention = brought.mean_attention(queries, keys)
        return Capture(None, None, **rest, lr_weights="box", attention=attention, attention_size=cells)
    lr_weights = "box" if rest["key_size"] is not None else lr_weights
    return Capture(queries[chosen].copy(), keys[chosen].copy(), **rest, lr_weights=lr_weights)


def capture_of_attention(
    attention: Array,
    height: int,
    width: int,
    class_probs: Array | None = None,
    image: Array | None = None,
    labels: Array | None = None,
    *,
    head: int | str = "mean",
    class_tokens: int = 0,
    last_tokens: int = 0,
    key_size: tuple[int, int] | None = None,
    signed: bool = False,
    **description: Unpack[Description],
) -> "Capture":
    """A capture of a finished attention map: N×N′ or heads×N×N′ for N = height·width, finite and not negative;
    or a batch of one such.

    Entry [i, j] is what cell i gives to cell j. N′ = N, or h′·w′ of `key_size`. Rows need not sum to 1 and stay as
    they are (which is said in a warning); where extra tokens are dropped, each row (of each head) is divided by what
    remains of it, as in `from_qk`. signed: the rows are known to be rows, and weights below 0 may come too, as some
    networks' mixed heads have them; such a map can be looked at, and has no noise. LR needs query and key for its
    learnt weights, so a map can have the constant box alone. The rest is as in `from_qk`. Raises ValueError, also
    for a map that seems to be transposed.
    """
    cells, key_cells = brought.map_sizes(height, width, key_size)
    named = description.get("query_names") is not None
    if description.get("placement") is None:
        description["placement"] = "blocks"
    rest = described(cells, key_cells, class_probs, image, labels, **description)
    extra = Extra(class_tokens, last_tokens)
    attention = brought.without_batch(attention)
    found = brought.one_map(attention, cells, key_cells, head, extra, named=named, signed=signed)
    rest |= {"key_size": None if key_size is None and not named else key_cells, "notes": rest["notes"] + found.notes}
    if found.dropped is not None:
        rest["dropped"] = found.dropped
    _say(rest["notes"])
    return Capture(None, None, **rest, lr_weights="box", attention=found.attention, attention_size=cells)


def _say(notes: tuple[str, ...]) -> None:
    for note in notes:
        warnings.warn(note, stacklevel=3)


@dataclass(frozen=True, eq=False)
class Capture:
    """The attention block's inputs for one image, and what the image shows. h×w are attention cells.

    query, key: d×h×w float32; or both None, and `attention` is the finished map N×N float32, N = h·w, entry [i, j] what
    cell i gives to cell j, and `attention_size` its (h, w); LR's learnt weights need query and key, GR works on both.
    key_size: (h′, w′) where the keys are other cells than the queries, as under spatial reduction: key is d×h′×w′ then,
    and attention N×N′. None where both are the same cells.
    placement, crop: how the cells of either grid lie on the image, as in `analysis.geometry.Grid`.
    query_names: of queries without a place, such as object queries or class tokens, one each: h×w is 1×Q then, and
    query_labels Q class indices, or None where it is not known what they look for. None where queries are cells.
    dropped: h×w float32, the share of each query's row that went to tokens that are no cells and is not in the map.
    notes: what is odd about it or has to be known of it, in sentences.
    class_probs: classes×h×w float32, GR's class distribution, or None.
    image: H×W×3 uint8. labels, prediction: H×W integer class indices. Any of these three may be None.
    gate, lr_kernel, lr_weights: the model's own GR gate and LR window (None: it has none) and kind of LR weights.
    layer, head: which attention of its network it is, the head's number or "mean"; None where there is but one.
    """

    query: np.ndarray | None
    key: np.ndarray | None
    class_probs: np.ndarray | None = None
    image: np.ndarray | None = None
    labels: np.ndarray | None = None
    prediction: np.ndarray | None = None
    label_set: LabelSet | None = None
    gate: str | None = None
    lr_kernel: int | None = None
    lr_weights: str = "learnt"
    name: str = "image"
    attention: np.ndarray | None = None
    attention_size: tuple[int, int] | None = None
    key_size: tuple[int, int] | None = None
    placement: str = "corners"
    crop: tuple[int, int, int, int] | None = None
    query_names: tuple[str, ...] | None = None
    query_labels: np.ndarray | None = None
    dropped: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    layer: str | None = None
    head: int | str | None = None

    def __repr__(self) -> str:
        return _in_a_line(self)

    # Their arguments and checks stand in functions of their own, above.
    from_qk = staticmethod(capture_of_qk)
    from_attention = staticmethod(capture_of_attention)

    @property
    def cells(self) -> tuple[int, int]:
        """(height, width) of the map."""
        size = self.attention_size if self.query is None else self.query.shape[1:]
        assert size is not None  # it comes with the finished map
        return size

    @property
    def height(self) -> int:
        """Rows of cells."""
        return self.cells[0]

    @property
    def width(self) -> int:
        """Columns of cells."""
        return self.cells[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the image in pixels. Raises ValueError where there is none; see `with_image`."""
        if self.image is None:
            raise ValueError(f"capture {self.name!r} has no image to show; give it one with with_image()")
        return self.image.shape[:2]

    @cached_property
    def image_sha256(self) -> str | None:
        """SHA-256 of the image's pixels, row by row, three bytes each; None without an image."""
        return None if self.image is None else hashlib.sha256(np.ascontiguousarray(self.image).tobytes()).hexdigest()

    @property
    def num_classes(self) -> int:
        """Number of classes, from the label set or else from class_probs. Raises ValueError where neither is there."""
        if self.label_set is not None:
            return self.label_set.num_classes
        if self.class_probs is None:
            raise ValueError(f"capture {self.name!r} has neither a label set nor class_probs: its classes are unknown")
        return self.class_probs.shape[0]

    @property
    def ignore_index(self) -> int:
        """The label value that means "no class"."""
        return IGNORE_INDEX if self.label_set is None else self.label_set.ignore_index

    @property
    def key_cells(self) -> tuple[int, int]:
        """(height, width) of the keys' grid, that of the map's rows; `cells` where keys are the same cells."""
        return self.cells if self.key_size is None else self.key_size

    @property
    def grid(self) -> Grid:
        """How the queries' cells lie on the image. Raises ValueError without an image or where they have no place."""
        if self.query_names is not None:
            raise ValueError(f"the queries of {self.name!r} have no place on the image; choose one by its number")
        return Grid(self.image_size, self.cells, self.placement, self.crop)

    @property
    def key_grid(self) -> Grid:
        """How the keys' cells lie on the image. Raises ValueError without an image."""
        return Grid(self.image_size, self.key_cells, self.placement, self.crop)

    def cell_at(self, y: int, x: int) -> int:
        """The query's cell row·w + column under a pixel. Raises ValueError for one off the cells."""
        row, column = self.grid.cell_at(y, x)
        return row * self.width + column

    @cached_property
    def cell_labels(self) -> np.ndarray | None:
        """The true label of each query, h×w, `ignore_index` where there is none; None without labels."""
        return _of_queries(self, self.labels)

    @cached_property
    def cell_prediction(self) -> np.ndarray | None:
        """The predicted label of each query, h×w; None without a prediction."""
        return _of_queries(self, self.prediction)

    @cached_property
    def key_labels(self) -> np.ndarray | None:
        """The label of each key by `reference`, h′×w′, `ignore_index` where there is none; None without a reference."""
        return _votes(self, self.labels if self.reference == "labels" else self.prediction, self.key_cells)

    @property
    def reference(self) -> str | None:
        """What a query is measured against: "labels", where there are none "prediction", and None without either."""
        if self.labels is not None:
            return "labels"
        return None if self.prediction is None else "prediction"

    @property
    def reference_labels(self) -> np.ndarray | None:
        """The label of each cell by `reference`, h×w, `ignore_index` where there is none; None without a reference."""
        return self.cell_labels if self.reference == "labels" else self.cell_prediction

    def remembered(self, name: str, compute: Callable[["Capture"], T]) -> T:
        """compute(self), worked out once: kept under `name` with the capture and its pickled copies."""
        memory = self.__dict__.setdefault("_remembered", {})
        if name not in memory:
            memory[name] = compute(self)
        return memory[name]

    def with_image(self) -> "Capture":
        """The capture with something to show: its image, its classes painted, or plain grey of one pixel a cell."""
        return self if self.image is not None else _with_image(self)


def attention_name(capture: Capture) -> str:
    """Which attention of its network it is, in words: "blocks.3.attn, head 4"; "" where there is but one."""
    words: dict[int | str | None, str] = {None: "", "mean": "mean of the heads"}
    head = words.get(capture.head, f"head {capture.head}")
    return ", ".join(part for part in (capture.layer, head) if part)


def _with_image(capture: Capture) -> Capture:
    shown = capture.labels if capture.reference == "labels" else capture.prediction
    if shown is not None and capture.label_set is not None:
        return dataclasses.replace(capture, image=capture.label_set.colour(shown))
    return dataclasses.replace(capture, image=np.full((*capture.key_cells, 3), PLAIN_GREY, np.uint8), crop=None)


def _votes(capture: Capture, labels: np.ndarray | None, cells: tuple[int, int]) -> np.ndarray | None:
    if labels is None:
        return None
    grid = Grid(labels.shape, cells, capture.placement, capture.crop)
    return grid.votes(labels, capture.num_classes, capture.ignore_index)


def _in_a_line(capture: Capture) -> str:
    head = f"head {capture.head}" if isinstance(capture.head, int) else capture.head and f"{capture.head} of heads"
    where = [part for part in (capture.layer, head) if part]
    keys = "" if capture.key_size is None else f" that ask {in_words(capture.key_size)}"
    size = "" if capture.image is None else f" {in_words(capture.image_size)}"
    parts = [f"{in_words(capture.cells)} cells{keys}", "+".join(stages_there(MapOptions().of(capture)))]
    known = [part for part in ("image", "labels", "prediction") if getattr(capture, part) is not None]
    parts += [f"{part}{size}" if part == "image" else part for part in known]
    return f"<Capture of {capture.name!r}: {', '.join([*where, *parts])}>"


def _of_queries(capture: Capture, labels: np.ndarray | None) -> np.ndarray | None:
    """Labels h×w: by the votes of pixels, or as they are known of queries without a place."""
    if capture.query_names is None or labels is None:
        return _votes(capture, labels, capture.cells)
    if capture.query_labels is None:
        return np.full(capture.cells, capture.ignore_index, np.int64)
    return capture.query_labels.reshape(capture.cells).astype(np.int64)
