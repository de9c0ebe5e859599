"""The two ways in: `hook` for one attention module, `watch` for all of them, while a model runs.

with analysis.watch(model, "*.attn") as watched:
    model(images)
print(watched.summary)
capture = watched.capture(path="blocks.11.attn", head=3)

with analysis.hook(model, "blocks.11.attn") as caught:
    model(images)
capture = caught.capture(head=3, image=image)
rows = caught.attention().rows([0, 1], head=3)
"""

from __future__ import annotations

import difflib
import fnmatch
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from analysis.capture import Capture
from analysis.catch import kinds
from analysis.catch.attentions import Attention, Call
from analysis.catch.caught import Caught
from analysis.catch.layout import Layout, layout_of
from analysis.catch.operands import SUM_TOLERANCE, FinishedMap, QueryKey
from analysis.catch.recording import MAX_BYTES, Recording

KEPT_WHOLE = "a bias, a mask or mixed heads take part, so the finished map is kept, without query and key"
# How modules that compute attention are called, in their path or class.
ATTENTION_WORDS = re.compile(r"att(n|ention)|non_?local|mhsa|token_mixer|xca", re.IGNORECASE)


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


class Watched:
    """What the modules at `paths` computed while the model ran. Ask for anything after the run."""

    def __init__(self, model: nn.Module, recording: Recording, modules: dict[str, nn.Module], found_by_name: bool):
        self._model = model
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
        entries = self.entries
        seen = {entry.path for entry in entries}
        good = {entry.path for entry in entries if entry.why_not is None}
        silent = [path for path in self._modules if path not in seen and not self._found_by_name]
        total = len(seen) + len(silent)
        words = f"{len(good)} of {total} attention modules ran through a softmax over tokens"
        reasons = {entry.path: entry.why_not for entry in entries if entry.path not in good}
        reasons |= dict.fromkeys(silent, "was not called")
        if not reasons:
            return words + "."
        listed = "; ".join(f"{path} {reason}" for path, reason in reasons.items())
        return f"{words}; these did not: {listed}."

    def attention(self, path: str | None = None, *, call: int | None = None, index: int | None = None) -> Caught:
        """The attention that the module at `path` computed; path: not needed where one module is watched.

        call: in which of its calls, from 1; needed where there were several. index: which of several attentions in
        that call. Raises ValueError, in one sentence, where there is none.
        """
        path = self._only_path() if path is None else _inside(self._model, path)
        calls = [one for one in self._recording.calls if one.path == path]
        if not calls:
            self._require_watched(path)
            raise ValueError(kinds.not_called(self._model, path, self._recording.uses(self._modules[path])))
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
        return Caught(name, attention.form, attention.weights, layout, notes, doubts, attention.own)

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
        """Whether a module that nobody named is worth a line."""
        return not self._found_by_name or bool(call.attentions) or bool(call.softmaxes)

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
    training = "it is in training mode" if call.module.training else "it takes dropout although it is in evaluation"
    if attention.dropped:
        doubts.append(
            f"{name}: dropout was on in its attention ({training}), so that another run gives other values: the map is "
            "that before dropout where query and key are kept; call model.eval()"
        )
    elif call.random:
        doubts.append(
            f"{name}: random numbers were drawn before its attention was computed (dropout, a shuffle or the like), so "
            "that another run gives another map; call model.eval() if that was forgotten"
        )
    if isinstance(attention.weights, FinishedMap):
        low, high = attention.weights.sums
        notes.append(f"{name}: {KEPT_WHOLE}")
        if max(abs(low - 1), abs(high - 1)) > SUM_TOLERANCE:
            notes.append(f"{name}: the rows sum to {low:.3g} … {high:.3g}, not to 1, as the model uses them")
    elif attention.weights is not None and not attention.weights.is_plain:
        notes.append(f"{name}: a bias or a mask takes part, so a capture holds the finished map, without query and key")
    if not attention.has_queries:
        notes.append(f"{name}: its weights come from a layer of scores, without queries and keys")
    return (*doubts, *notes), tuple(doubts)


@contextmanager
def watch(model: nn.Module, layers: str | Sequence[str] | None = None, *, limit: int = MAX_BYTES) -> Iterator[Watched]:
    """Watch attention modules of `model` while it runs inside the block.

    layers: a pattern of paths as in the shell ("*.attn"), a list of paths, or None for every module that computes an
    attention itself. limit: bytes that may be kept of all together; what goes beyond is refused when it is asked for.
    The model's outputs stay as they are to the bit, and nothing is left behind, whatever happens in the block. Raises
    ValueError for paths that the model does not have and patterns that fit none.
    """
    modules = _chosen(model, layers)
    _require_visible(model, modules)
    recording = Recording(model, modules, limit=limit)
    with recording:
        yield Watched(model, recording, modules, layers is None)


@contextmanager
def hook(
    model: nn.Module,
    path: str,
    *,
    query: str | None = None,
    key: str | None = None,
    heads: int | None = None,
    scale: float | None = None,
) -> Iterator[Watched]:
    """Watch the one attention module at `path` (dots as in `named_modules`; "" is the model itself).

    query, key: names of its submodules that give query and key; heads, scale: how many heads it has, and what it
    multiplies q·k with. None of the four is needed, since what the module computes is seen: those that are given are
    compared with it. As `watch`; raises ValueError at the end too, where the module was not called, ran no softmax
    over tokens, or does something else than was said.
    """
    if heads is not None and heads < 1:
        raise ValueError(f"heads is {heads}; it must be 1 or more")
    if (query is None) != (key is None):
        raise ValueError("only one of query and key is named; name both")
    for name in (query, key):
        if name is not None:
            module_at(module_at(model, _inside(model, path)), name)
    with watch(model, [path]) as watched:
        yield watched
    _require_said(watched.attention(path, call=watched.calls or None), heads, scale)


def _require_said(caught: Caught, heads: int | None, scale: float | None) -> None:
    if heads is not None and heads != caught.heads:
        raise ValueError(f"heads is {heads}, but {caught.path!r} computes its attention in {caught.heads}")
    weights = caught.weights
    # A scale of 1 may mean that the model has multiplied its queries already.
    if scale is None or not isinstance(weights, QueryKey) or weights.scale == 1:
        return
    if not math.isclose(weights.scale, scale, rel_tol=1e-4):
        raise ValueError(f"scale is {scale:.6g}, but {caught.path!r} multiplies q·k with {weights.scale:.6g}")


def _chosen(model: nn.Module, layers) -> dict[str, nn.Module]:
    modules = dict(model.named_modules())
    if layers is None:
        return modules
    if isinstance(layers, str):
        chosen = {path: module for path, module in modules.items() if fnmatch.fnmatchcase(path, layers)}
        if not chosen:
            telling = [path for path in modules if ATTENTION_WORDS.search(path.rpartition(".")[2])]
            hint = f"; attention may be in {', '.join(telling[:4])} …" if telling else ""
            raise ValueError(f"no module's path fits {layers!r}{hint}")
        return chosen
    return {path: module_at(model, path) for path in map(partial(_inside, model), layers)}


def _inside(model: nn.Module, path: str) -> str:
    """The path in a model with compiled parts, which torch.compile puts into modules around them."""
    wanted = _without_compiled(path)
    found = [name for name, _ in model.named_modules() if _without_compiled(name) == wanted]
    return found[-1] if found else path


def _without_compiled(path: str) -> str:
    return ".".join(part for part in path.split(".") if part != "_orig_mod")


def module_at(model: nn.Module, path: str) -> nn.Module:
    """The module at this path. Raises ValueError, with paths that are near, where there is none."""
    modules = dict(model.named_modules())
    if path in modules:
        return modules[path]
    near = difflib.get_close_matches(path, modules, n=3, cutoff=0.5)
    last = path.rpartition(".")[2]
    near += [name for name in modules if name.rpartition(".")[2] == last and name not in near][: 3 - len(near)]
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see model.named_modules() for its paths."
    raise ValueError(f"the model has no module {path!r}; {hint}")


def _require_visible(model: nn.Module, modules: dict[str, nn.Module]) -> None:
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(kinds.not_called(model, next(iter(modules), ""), False))
