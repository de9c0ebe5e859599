"""Several layers and heads of one image's attention, each made a Capture when it is asked for."""

import dataclasses
import fnmatch
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from analysis.capture import brought
from analysis.capture.capture import Capture

# The mean of the heads' maps is a softmax of heads·N·N′ scores: a second or two for so many.
MAX_MEAN_WEIGHTS = 2**28
# What all layers have in common.
SHARED = ("image", "labels", "prediction", "label_set", "name")
# What a Layer made of captures takes over from them, beside their arrays.
_DESCRIBED = (
    "class_probs", "image", "labels", "prediction", "label_set", "gate", "lr_kernel", "name", "placement", "crop",
    "query_names", "query_labels", "key_size",
)  # fmt: skip

_NUMBER = re.compile(r"\d[\d.]*(e[+-]?\d+)?")

Heads = str | int | Sequence[int] | None


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer's attention of one image: its heads' queries and keys, or their finished maps.

    name: such as the module's path; "" for the only one. cells, key_cells: (height, width) of the queries' and the
    keys' grid. heads: their numbers in the network, as many as the arrays have. arrays: "query" and "key", or
    "attention", each with the heads as its first axis, else as in `Capture.from_qk` and `Capture.from_attention`.
    options: their keyword arguments, the image and labels among them; "dropped" may be heads×h×w. notes: what has to be
    known of it, in sentences.
    """

    name: str
    cells: tuple[int, int]
    key_cells: tuple[int, int]
    heads: tuple[int, ...]
    arrays: dict[str, Any]
    options: dict[str, Any]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, captures: Sequence[Capture], name: str, heads: Sequence[int]) -> "Layer":
        """A layer of the captures of its heads, all of one kind and grid."""
        first = captures[0]
        parts = ("attention",) if first.query is None else ("query", "key")
        arrays = {part: _stacked(captures, part) for part in parts}
        options = {part: getattr(first, part) for part in _DESCRIBED}
        if first.dropped is not None:
            options["dropped"] = _stacked(captures, "dropped")
        if first.query is None:
            options["signed"] = bool(arrays["attention"].min(initial=0) < 0)
        else:
            options["lr_weights"] = first.lr_weights
        notes = tuple(dict.fromkeys(note for each in captures for note in each.notes))
        return cls(name, first.cells, first.key_cells, tuple(heads), arrays, options, notes)

    def __repr__(self) -> str:
        return repr(Layers((self,))).replace("Layers of", "Layer of", 1)

    @property
    def finished(self) -> bool:
        """Whether it has maps, without query and key."""
        return "attention" in self.arrays

    @property
    def weights(self) -> int:
        """How many weights the maps of all heads have."""
        return len(self.heads) * math.prod(self.cells) * math.prod(self.key_cells)

    def capture(self, head: int | str = "mean") -> Capture:
        """The capture of the head of this number, or of the heads' mean. Raises ValueError for what does not fit."""
        if head == "mean" and len(self.heads) > 1:
            with _naming_heads(self):
                return self._named(self._mean(), "mean")
        number = self.heads[0] if head == "mean" else head
        if isinstance(number, str) or number not in self.heads:
            raise ValueError(
                f"head is {head!r}; choose {_listed(self.heads)}, or 'mean' for the mean of the heads' maps"
            )
        at = self.heads.index(int(number))
        own = [array[at] for array in self.arrays.values()]
        dropped = self.options.get("dropped")
        options = self.options if dropped is None or np.ndim(dropped) < 3 else self.options | {"dropped": dropped[at]}
        try:
            return self._named(self._made(own, options), int(number))
        except brought.ValuesError as error:
            if not self.name and len(self.heads) == 1:
                raise
            raise ValueError(f"head {number} of {self.name or 'the layer'}: {error}") from error

    def operands(self) -> dict[str, np.ndarray]:
        """What the rows of all heads are computed from, float32. Raises ValueError for what does not fit.

        "query", with the scale, and "key", heads×d×h×w each, and "extra_keys", heads×d×E, of tokens that are no cells,
        if any; or "attention", heads×N×N′. "dropped", heads×N, where shares went to tokens that are not there.
        """
        if self.finished:
            captures = [quietly(self, head) for head in self.heads]
            found = {"attention": _stacked(captures, "attention")}
            shares: list[Any] = [each.dropped for each in captures]
        else:
            with _naming_heads(self):
                found = self._cell_maps()
            dropped = self.options.get("dropped")
            shares = [] if dropped is None else list(np.broadcast_to(dropped, (len(self.heads), *self.cells)))
        if shares and shares[0] is not None and "extra_keys" not in found:
            found["dropped"] = np.stack(shares).reshape(len(self.heads), -1).astype(np.float32)
        return found

    def _cell_maps(self) -> dict[str, np.ndarray]:
        query, key = self.arrays["query"], self.arrays["key"]
        extra = brought.Extra(self.options.get("class_tokens", 0), self.options.get("last_tokens", 0))
        named = self.options.get("query_names") is not None
        apart = named or self.options.get("key_size") is not None
        asking = brought.NO_EXTRA if named else extra.where_it_fits(query, self.cells) if apart else extra
        asked = extra.where_it_fits(key, self.key_cells) if apart else extra
        queries = brought.cell_maps(query, "query", self.cells, asking) * np.float32(self.options.get("scale", 1.0))
        keys = brought.cell_maps(key, "key", self.key_cells, asked)
        brought.require_alike(queries, keys)
        brought.require_computable(queries, keys)
        found = {"query": queries, "key": keys}
        if asked.count:
            every = brought.as_floats(key, "key")
            cells = asked.cells(every.shape[1])
            others = np.concatenate([every[:, : cells.start], every[:, cells.stop :]], axis=1)
            found["extra_keys"] = np.ascontiguousarray(others.swapaxes(1, 2))
        return found

    def chosen(self, heads: Heads) -> "Layer":
        """The same layer with these heads alone; None for all."""
        if heads is None:
            return self
        wanted: list[Any] = [heads] if isinstance(heads, int) else list(heads)
        strangers = [head for head in wanted if head not in self.heads]
        if strangers or not wanted:
            raise ValueError(f"heads are {heads!r}; {self.name or 'the layer'} has {_listed(self.heads)}")
        places = [self.heads.index(head) for head in wanted]
        arrays = {name: array[places] for name, array in self.arrays.items()}
        options = dict(self.options)
        if options.get("dropped") is not None and np.ndim(options["dropped"]) == 3:
            options["dropped"] = options["dropped"][places]
        return dataclasses.replace(self, heads=tuple(wanted), arrays=arrays, options=options)

    def _mean(self) -> Capture:
        if not self.finished and self.weights > MAX_MEAN_WEIGHTS:
            raise ValueError(
                f"the mean of {len(self.heads)} maps of {math.prod(self.cells)} cells would take too long; choose one "
                "head"
            )
        dropped = self.options.get("dropped")
        options = self.options
        if dropped is not None and np.ndim(dropped) == 3:
            options = options | {"dropped": np.asarray(dropped, np.float32).mean(axis=0)}
        return self._made(list(self.arrays.values()), options)

    def _made(self, arrays: list, options: dict[str, Any]) -> Capture:
        make: Any = Capture.from_attention if self.finished else Capture.from_qk
        return make(*arrays, *self.cells, **options, head="mean")

    def _named(self, capture: Capture, head: int | str) -> Capture:
        notes = [*self.notes, *capture.notes]
        if head == "mean" and self.heads != tuple(range(len(self.heads))):
            notes.append(f"the mean is that of {_listed(self.heads)} alone")
        single = not self.name and len(self.heads) == 1
        return dataclasses.replace(
            capture, layer=self.name or None, head=None if single else head, notes=tuple(dict.fromkeys(notes))
        )


@dataclass(frozen=True, eq=False)
class Layers:
    """Layers of one image, in the network's order. left_out: names of others, and why there is nothing of them to show.

    Raises ValueError where two have one name.
    """

    layers: tuple[Layer, ...]
    left_out: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("there are no layers; give at least one")
        if len(set(self.names)) < len(self.layers):
            raise ValueError("two layers have the same name; give each one of its own")

    def __repr__(self) -> str:
        first = self.layers[0]
        names = "" if self.names == [""] else f" ({_listed(self.names)})"
        known = [part for part in ("image", "labels", "prediction") if first.options.get(part) is not None]
        heads = f"{self.maps} head{'s' * (self.maps != 1)}"
        count = f"{len(self)} layer{'s' * (len(self) > 1)}{names}, {heads}"
        return f"<Layers of {first.options.get('name', 'image')!r}: {', '.join([count, _grids(self), *known])}>"

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def names(self) -> list[str]:
        """Of the layers, in order."""
        return [layer.name for layer in self.layers]

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be known of each layer, as the captures of its heads say it, and what was left out."""
        names: dict[str, list[str]] = {}
        for layer in self.layers:
            for note in _notes_of_heads(layer):
                names.setdefault(note, []).append(layer.name)
        found = [
            note if len(own) == len(self.layers) or note.startswith(own[0]) else f"{_listed(own)}: {note}"
            for note, own in names.items()
        ]
        return (*found, *(f"{name} was left out: {reason}" for name, reason in self.left_out.items()))

    @property
    def maps(self) -> int:
        """How many heads all layers have together."""
        return sum(len(layer.heads) for layer in self.layers)

    def layer(self, name: str | None = None) -> Layer:
        """The layer of this name; without one, the only layer. Raises ValueError for one that is not there."""
        if name is None:
            if len(self.layers) > 1:
                raise ValueError(f"there are {len(self.layers)} layers; choose one of {_listed(self.names)}")
            return self.layers[0]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"there is no layer {name!r}; choose one of {_listed(self.names)}")

    def capture(self, layer: str | None = None, head: int | str = "mean") -> Capture:
        """The capture of one head of a layer, or of the mean of its heads' maps; see `layer` and `Layer.capture`."""
        return self.layer(layer).capture(head)

    def chosen(self, layers: str | Iterable[str] | None = None, heads: Heads = None) -> "Layers":
        """These layers and heads alone. layers: a name, a pattern as in the shell ("blocks.*"), or several; None for
        all. heads: a number or several, of each layer; None for all. Raises ValueError for what is not there."""
        patterns = [layers] if isinstance(layers, str) else None if layers is None else list(layers)
        kept = self.layers
        if patterns is not None:
            for pattern in patterns:
                if not any(_fits(name, pattern) for name in self.names):
                    raise ValueError(f"no layer fits {pattern!r}; choose of {_listed(self.names)}")
            kept = tuple(layer for layer in kept if any(_fits(layer.name, pattern) for pattern in patterns))
        return Layers(tuple(layer.chosen(heads) for layer in kept), self.left_out)

    def with_image(self) -> "Layers":
        """The layers with something to show, as `Capture.with_image` gives it."""
        first = self.layers[0]
        if first.options.get("image") is not None:
            return self
        return self.described(image=quietly(first, first.heads[0]).with_image().image)

    def described(self, **description: Any) -> "Layers":
        """The same layers of an image of which more is known: image, labels, prediction, label_set, name."""
        strangers = sorted(set(description) - set(SHARED))
        if strangers:
            raise ValueError(f"{strangers[0]} is not what layers have in common; give of {', '.join(SHARED)}")
        changed = (dataclasses.replace(layer, options=layer.options | description) for layer in self.layers)
        return Layers(tuple(changed), self.left_out)


def _grids(layers: Layers) -> str:
    """The sizes of the queries' maps."""
    sizes = list(dict.fromkeys("×".join(map(str, layer.cells)) for layer in layers))
    return f"{', '.join(sizes if len(sizes) <= 4 else [sizes[0], '…', sizes[-1]])} cells"


def head_of(array: Any, cells: tuple[int, int]) -> bool:
    """Whether an array of query, key or attention is that of one head, by the reading of `Capture.from_qk`."""
    return array.ndim == 2 or (array.ndim == 3 and tuple(array.shape[1:]) == cells)


def quietly(layer: Layer, head: int | str) -> Capture:
    """`Layer.capture` without a warning: its notes say the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return layer.capture(head)


@contextmanager
def _naming_heads(layer: Layer) -> Iterator[None]:
    """Numbers at fault among all heads: the error is that of the first head that has them, which names it."""
    try:
        yield
    except brought.ValuesError:
        for head in layer.heads:
            quietly(layer, head)
        raise  # of tokens that are no cells


def _notes_of_heads(layer: Layer) -> list[str]:
    """What the captures of a layer's heads say, each once, and of which heads it is true where not of all alike.

    Sentences that differ in their numbers alone, as where each head's rows have sums of their own, are one.
    """
    told: dict[str, dict[int, str]] = {}  # sentence without its numbers -> head -> sentence
    # Of queries and keys no note depends on the head.
    for head in layer.heads if layer.finished else layer.heads[:1]:
        for note in quietly(layer, head).notes:
            told.setdefault(_NUMBER.sub("#", note), {})[head] = note
    if not layer.finished:
        return [note for of_heads in told.values() for note in of_heads.values()]
    found = []
    for of_heads in told.values():
        heads, first = list(of_heads), next(iter(of_heads.values()))
        alike = len(set(of_heads.values())) == 1
        if alike and len(heads) == len(layer.heads):
            found.append(first)
        elif alike:
            found.append(f"{_listed_heads(heads)}: {first}")
        else:
            likewise = f"{_listed_heads(heads[1:])} likewise, with numbers of their own"
            found.append(f"head {heads[0]}: {first} ({likewise})")
    return found


def _listed_heads(heads: Sequence[int]) -> str:
    words = _listed(heads)
    return words if words.startswith("head") else f"heads {words}"


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def _stacked(captures: Sequence[Capture], part: str) -> np.ndarray:
    return np.stack([getattr(each, part) for each in captures])


def _listed(values: Sequence[Any]) -> str:
    """Names or numbers of heads in words, the middle of a long list left out."""
    if values and all(isinstance(value, int) for value in values):
        run = len(values) > 2 and list(values) == list(range(values[0], values[0] + len(values)))
        if run:
            return f"{values[0]} … {values[-1]}"
        return f"head{'s' * (len(values) > 1)} {', '.join(map(str, values))}"
    shown = list(values) if len(values) <= 6 else [*values[:3], "…", *values[-2:]]
    return ", ".join(map(str, shown))


def stacked(array: Any) -> Any:
    """One head's array with an axis of heads."""
    return array[None] if isinstance(array, np.ndarray | torch.Tensor) else np.asarray(array)[None]
