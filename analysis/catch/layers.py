"""The two ways in: `hook` for one attention module, `watch` for all of them, while a model runs.

with analysis.watch(model, "*.attn") as watched:
    model(images)
print(watched.summary)
capture = watched.capture(path="blocks.11.attn", head=3)
watched.save("attention.npz", image=image)  # all layers and heads

with analysis.hook(model, "blocks.11.attn") as caught:
    model(images)
capture = caught.capture(head=3, image=image)
rows = caught.attention().rows([0, 1], head=3)
"""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from analysis.catch import kinds
from analysis.catch.caught import Caught
from analysis.catch.keeping import MAX_BYTES, Keeping
from analysis.catch.operands import QueryKey
from analysis.catch.recording import Recording
from analysis.catch.watched import Watched, inside


@contextmanager
def watch(
    model: nn.Module,
    layers: str | Sequence[str] | None = None,
    *,
    heads: int | Sequence[int] | None = None,
    limit: int = MAX_BYTES,
) -> Iterator[Watched]:
    """Watch attention modules of `model` while it runs inside the block.

    layers: a pattern of paths as in the shell ("*.attn"), a list of paths and patterns, or None for every module that
    computes an attention itself. heads: of each module, the only ones to keep; None for all. limit: bytes that may be
    kept of all together; what goes beyond is refused when it is asked for. The model's outputs stay as they are to the
    bit, and nothing is left behind, whatever happens in the block. Raises ValueError for paths that the model does not
    have and patterns that fit none.
    """
    modules = _chosen(model, layers)
    _require_visible(model, modules)
    recording = Recording(model, modules, keeping=Keeping(limit, _numbers(heads)))
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
            module_at(module_at(model, inside(model, path)), name)
    with watch(model, [path]) as watched:
        yield watched
    try:
        caught = watched.attention(path, call=watched.calls or None)
    except ValueError as error:
        raise ValueError(f"{error}{kinds.inside(model, path)}") from None
    _require_said(caught, heads, scale)


def _numbers(heads: int | Sequence[int] | None) -> list[int] | None:
    if heads is None:
        return None
    numbers = [heads] if isinstance(heads, int) else list(heads)
    if not numbers or len(set(numbers)) < len(numbers) or not all(isinstance(one, int) and one >= 0 for one in numbers):
        raise ValueError(f"heads are {heads!r}; give different whole numbers from 0 on, or None for all")
    return numbers


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
    if layers is None:  # a module that is a softmax alone is a part of the attention around it
        return {path: module for path, module in modules.items() if not (path and isinstance(module, nn.Softmax))}
    if isinstance(layers, str):
        return _fitting(modules, layers)
    chosen: dict[str, nn.Module] = {}
    for layer in layers:
        path = inside(model, layer)
        is_pattern = path not in modules and any(letter in layer for letter in "*?[")
        chosen |= _fitting(modules, layer) if is_pattern else {path: module_at(model, path)}
    return chosen


def _fitting(modules: dict[str, nn.Module], pattern: str) -> dict[str, nn.Module]:
    chosen = {path: module for path, module in modules.items() if fnmatch.fnmatchcase(path, pattern)}
    if not chosen:
        telling = [path for path in modules if kinds.ATTENTION_WORDS.search(path.rpartition(".")[2])]
        hint = f"; attention may be in {', '.join(telling[:4])} …" if telling else ""
        raise ValueError(f"no module's path fits {pattern!r}{hint}")
    return chosen


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
