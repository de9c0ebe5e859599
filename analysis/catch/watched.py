"""What watched modules computed while a model ran, to be asked for afterwards."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from analysis.capture import Capture, Layers, save_layers
from analysis.catch import kinds
from analysis.catch.attentions import BY_HAND, Attention, Call
from analysis.catch.caught import Caught
from analysis.catch.layout import Layout, layout_of
from analysis.catch.many import layers_of
from analysis.catch.operands import SUM_TOLERANCE, FinishedMap, QueryKey
from analysis.catch.recording import Recording

KEPT_WHOLE = (
    "a bias, a mask, mixed heads or another normalisation takes part, so the finished map is kept, without query "
    "and key"
)


@dataclass(frozen=True, eq=False)
class Entry:
    """One call of one watched module. kind: what it computes, in words. heads, shape (queries, keys): None where there
    is no softmax over tokens; then `why_not` says why."""

    path: str
    call: int
    kind: str
    heads: int | None = None
    windows: int | None = None
    shape: tuple[int, int] | None = None
    why_not: str | None = None


def summary_of(entries: list[Entry], paths: list[str], found_by_name: bool) -> str:
    """Of the watched modules, how many ran through a softmax over tokens, and which did not, and why."""
    seen = {entry.path for entry in entries}
    good = {entry.path for entry in entries if entry.why_not is None}
    silent = [path for path in paths if path not in seen and not found_by_name]
    words = f"{len(good)} of {len(seen) + len(silent)} attention modules ran through a softmax over tokens"
    by_hand = {entry.path for entry in entries if entry.kind == BY_HAND}
    if by_hand:
        words += f" (of these, {', '.join(sorted(by_hand))} through rows normalised by hand)"
    reasons = {entry.path: entry.why_not for entry in entries if entry.path not in good}
    reasons |= dict.fromkeys(silent, "was not called")
    if not reasons:
        return words + "."
    return f"{words}; these did not: {'; '.join(f'{path} {reason}' for path, reason in reasons.items())}."


def layers_of_watched(
    watched: Watched,
    height: int | None = None,
    width: int | None = None,
    *,
    item: int = 0,
    heads: int | Sequence[int] | None = None,
    **options: Any,
) -> Layers:
    """All heads of all watched attentions of one image of the batch, to look at together and to save as one file.

    heads: of each, the only ones; None for all. The rest is as in `Caught.capture`, and holds for every layer.
    What has no map to show is `left_out`, with the reason. Raises ValueError where nothing is left.
    """
    found, left_out = {}, {}
    entries = watched.entries
    times = Counter(entry.path for entry in entries)
    for entry in entries:
        name = entry.path or type(watched.model).__name__
        name += f" (call {entry.call})" if times[entry.path] > 1 else ""
        if entry.why_not is None:
            found[name] = watched.attention(entry.path, call=entry.call)
        else:
            left_out[name] = entry.why_not
    return layers_of(found, left_out, (height, width), item, heads, options)


def save_watched(
    watched: Watched, path: str | Path, height: int | None = None, width: int | None = None, **options: Any
) -> None:
    """`layers` of one image as an attention file, `.npz` or `.safetensors`, that `load_layers` and the app open.

    Raises ValueError where they cannot be one, OSError where the file cannot be written.
    """
    save_layers(watched.layers(height, width, **options), path)


class Watched:
    """What the modules at `paths` computed while the model ran. Ask for anything after the run."""

    def __init__(self, model: nn.Module, recording: Recording, modules: dict[str, nn.Module], found_by_name: bool):
        self.model = model
        self._recording = recording
        self._modules = modules
        self._found_by_name = found_by_name
        self._layouts: dict[int, Layout] = {}

    @property
    def paths(self) -> list[str]:
        """Of the watched modules, in the model's order."""
        return list(self._modules)

    @property
    def calls(self) -> int:
        """How many calls of watched modules there were."""
        return len(self._recording.calls)

    @property
    def entries(self) -> list[Entry]:
        """One for each call of a watched module, in the order of the calls."""
        return [self._entry(call) for call in self._recording.calls if self._is_attention(call)]

    @property
    def summary(self) -> str:
        """How many attention modules ran through a softmax over tokens, and which did not, and why."""
        return summary_of(self.entries, self.paths, self._found_by_name)

    def attention(self, path: str | None = None, *, call: int | None = None, index: int | None = None) -> Caught:
        """The attention that the module at `path` computed; path: not needed where one module is watched.

        call: in which of its calls, from 1; needed where there were several. index: which of several attentions in
        that call. Raises ValueError, in one sentence, where there is none.
        """
        path = self._only_path() if path is None else inside(self.model, path)
        calls = [one for one in self._recording.calls if one.path == path]
        if not calls:
            self._require_watched(path)
            raise ValueError(kinds.not_called(self.model, path, self._recording.uses(self._modules[path])))
        if call is None and len(calls) > 1:
            raise ValueError(
                f"{path!r} ran {len(calls)} times, such as once for each window that slides over a picture; choose one "
                f"with call=1 … {len(calls)}"
            )
        if call is not None and not 1 <= call <= len(calls):
            raise ValueError(f"call is {call}, but {path!r} was called {len(calls)} times; choose 1 … {len(calls)}")
        chosen = calls[0 if call is None else call - 1]
        attention = kinds.one_attention(chosen, index)
        name = path or type(chosen.module).__name__
        if (problem := kinds.problem_of(attention)) is not None:
            raise ValueError(f"{name!r} {problem}")
        layout = self._layout(attention, name)
        assert attention.weights is not None
        notes, doubts = _notes(attention, chosen, name)
        return Caught(name, attention.form, attention.weights, layout, notes, doubts, attention.own, attention.kept)

    def capture(
        self,
        height: int | None = None,
        width: int | None = None,
        *,
        path: str | None = None,
        call: int | None = None,
        index: int | None = None,
        **options: Any,
    ) -> Capture:
        """The attention of one image of the batch: path, call and index as in `attention`, the rest as in
        `Caught.capture`."""
        return self.attention(path, call=call, index=index).capture(height, width, **options)

    # Their arguments and meaning stand above.
    layers = layers_of_watched
    save = save_watched

    @property
    def query(self) -> Tensor:
        """Of the one attention: the queries that entered the product, B×heads×N×d (B×windows×heads×N×d in windows).
        Raises ValueError where a finished map was kept in their place."""
        return self._operands()[0]

    @property
    def key(self) -> Tensor:
        """Likewise the keys, B×heads×M×d."""
        return self._operands()[1]

    @property
    def scale(self) -> float:
        """What the model multiplies that product with; 1 where it scales the queries themselves."""
        return _with_operands(self.attention()).scale

    @property
    def class_probs(self) -> Tensor | None:
        """B×classes×h×w where the module has a gate, as this project's own block."""
        return self.attention().own.get("class_probs")

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the queries' map, None where the model does not say."""
        query = self.attention().layout.query
        return query.grid if query.known and query.ordered else None

    def _operands(self) -> tuple[Tensor, Tensor]:
        caught = self.attention()
        weights, groups = _with_operands(caught), caught.layout.groups
        shape = groups.shape if caught.windows > 1 else (len(groups), groups.shape[2])
        sides = zip(*(weights.operands(int(group)) for group in groups.ravel()), strict=True)
        query, key = (torch.stack(side).unflatten(0, shape) for side in sides)
        return query, key

    def _only_path(self) -> str:
        if len(self._modules) != 1:
            raise ValueError(f"{len(self._modules)} modules are watched; choose one with path=…")
        return self.paths[0]

    def _layout(self, attention: Attention, name: str) -> Layout:
        if attention.layout is not None:
            return attention.layout
        if id(attention) not in self._layouts:
            try:
                self._layouts[id(attention)] = layout_of(attention, self._recording.images)
            except ValueError as error:
                raise ValueError(f"{name!r} {error}") from None
        return self._layouts[id(attention)]

    def _require_watched(self, path: str) -> None:
        if path not in self._modules:
            near = difflib.get_close_matches(path, self._modules, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise ValueError(f"{path!r} was not watched{hint}")

    def _is_attention(self, call: Call) -> bool:
        """Whether a module that nobody named is worth a line: one that passes on its weights is a part of the attention
        that multiplies values with them."""
        if not self._found_by_name:
            return True
        others = [one for other in self._recording.calls for one in other.attentions if not one.is_returned]
        taken_up = {softmax for one in others for softmax in one.softmaxes}
        is_part = all(one.is_returned for one in call.attentions) and taken_up.issuperset(call.softmaxes)
        return bool(call.attentions) or call.from_scores if not call.softmaxes else not is_part

    def _entry(self, call: Call) -> Entry:
        try:
            found = self.attention(call.path, call=call.number)
        except ValueError as error:
            return Entry(call.path, call.number, "no softmax over tokens", why_not=str(error))
        _, *shape = found.weights.shape
        return Entry(call.path, call.number, found.form, found.heads, found.windows, (shape[0], shape[1]))


def _with_operands(caught: Caught) -> QueryKey:
    if isinstance(caught.weights, QueryKey):
        return caught.weights
    raise ValueError(f"{caught.path!r} has no query and key to give: {KEPT_WHOLE}")


def _notes(attention: Attention, call: Call, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What has to be known of an attention, and what of that makes its map doubtful."""
    notes, doubts = [], []
    training, advice = "it is in training mode", "call model.eval()"
    if not any(part.training for part in call.module.modules()):
        training, advice = "it takes dropout although it is in evaluation", "build the model with a dropout rate of 0"
    elif not call.module.training:
        training = "a part of it is in training mode"
    if attention.dropped:
        doubts.append(
            f"{name}: dropout was on in its attention ({training}), so that another run gives other values: the map is "
            f"that before dropout where query and key are kept; {advice}"
        )
    elif call.random:
        doubts.append(
            f"{name}: random numbers were drawn before its attention was computed (dropout, a shuffle or the like), so "
            "that another run may give another map; call model.eval() if that was forgotten"
        )
    if isinstance(attention.weights, FinishedMap):
        low, high = attention.weights.sums
        notes.append(f"{name}: {KEPT_WHOLE}")
        if max(abs(low - 1), abs(high - 1)) > SUM_TOLERANCE:
            notes.append(f"{name}: the rows sum to {low:.3g} … {high:.3g}, not to 1, as the model uses them")
    elif attention.weights is not None and not attention.weights.is_plain:
        notes.append(f"{name}: a bias or a mask takes part, so a capture holds the finished map, without query and key")
    if not attention.has_queries:
        notes.append(
            f"{name}: its weights come from a layer of scores, or from learned queries, without queries and keys"
        )
    return (*doubts, *notes), tuple(doubts)


def inside(model: nn.Module, path: str) -> str:
    """The path in a model with compiled parts, which torch.compile puts into modules around them."""
    wanted = _without_compiled(path)
    found = [name for name, _ in model.named_modules() if _without_compiled(name) == wanted]
    return found[-1] if found else path


def _without_compiled(path: str) -> str:
    return ".".join(part for part in path.split(".") if part != "_orig_mod")
