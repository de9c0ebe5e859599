"""Run any network with Global Rectifying and Local Retention applied to one of its attentions.

    mended = analysis.catch.mend(model, "blocks.11.attn", gate="binary", lr="box", class_probs=probs)
    output = mended(images)

The weights A that the model's softmax made become A″ = LR(A ⊙ G) before they gather the values; the formulas are those
of `dnl.attention`. What is no cell (class and register tokens) keeps its weights, as a query and as a key.
"""

from __future__ import annotations

import math
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.catch import asides, kinds
from analysis.catch.attentions import Attention, Gathering
from analysis.catch.caught import Caught
from analysis.catch.layers import module_at
from analysis.catch.layout import Side, layout_of
from analysis.catch.operands import QueryKey, Weights
from analysis.catch.placing import asks_without_a_place, is_told, require_sizes
from analysis.catch.recording import Recording
from analysis.catch.volumes import require_mendable
from dnl.attention import GATES, LR_WEIGHTS, gate_rows, retain_rows, retention_weights
from dnl.network import DenoisedNonLocal2d

QUERY_BLOCK = 256


def mend(
    model: nn.Module,
    path: str,
    *,
    gate: str | None = None,
    lr: str | None = None,
    lr_kernel: int = 3,
    class_probs: Tensor | None = None,
    size: tuple[int, int] | None = None,
    class_tokens: int | None = None,
) -> Mended:
    """The model with GR and LR applied to the attention of the module at `path`, to be called like the model.

    gate: GR gate, one of dnl.attention.GATES, or None. lr: weights of LR, "box" or "learnt" (σ(q·k), where the
    attention is softmax(q·k) without a bias), or None; lr_kernel: odd side of its window. With neither, the model runs
    as it is. class_probs: B×classes×h×w, a distribution over classes, resized to the attention's cells; None takes
    the model's own prediction in a first pass (a tensor B×classes×H×W of logits, alone or as `logits` of its output).
    size, class_tokens: (height, width) of the attention's map and its leading tokens that are no cells, where the
    model does not say. Raises ValueError for options and modules that do not fit.
    """
    if gate is not None and gate not in GATES:
        raise ValueError(f"gate is {gate!r}; choose one of {', '.join(GATES)}, or None for no GR")
    if lr is not None and lr not in LR_WEIGHTS:
        raise ValueError(f"lr is {lr!r}; choose one of {', '.join(LR_WEIGHTS)}, or None for no LR")
    if lr_kernel < 1 or lr_kernel % 2 == 0:
        raise ValueError(f"lr_kernel is {lr_kernel}; it must be an odd number of cells (1, 3, 5 …)")
    module = module_at(model, path)
    return Mended(model, path, module, gate, lr, lr_kernel, class_probs, size, class_tokens)


class Mended:
    """A model whose attention at one place is mended; see `mend`. The model itself stays as it is."""

    def __init__(self, model, path, module, gate, lr, lr_kernel, class_probs, size, class_tokens):
        self._model, self._path, self._module = model, path, module
        self._gate, self._lr, self._lr_kernel = gate, lr, lr_kernel
        self._class_probs = class_probs
        self._size, self._class_tokens = size, class_tokens
        self._mended: list[Attention] = []

    def __call__(self, *args, **kwargs) -> Any:
        """The output of the mended model. Without gate and lr it is the model's own, to the bit."""
        if self._gate is None and self._lr is None:
            return self._model(*args, **kwargs)
        with torch.no_grad():
            if isinstance(self._module, DenoisedNonLocal2d):
                with self._our_block():
                    return self._model(*args, **kwargs)
            probs = self._class_probs
            if self._gate is not None and probs is None:
                probs = torch.softmax(_logits(self._model(*args, **kwargs)).float(), 1)
            self._mended = []
            gather = partial(self._gather, probs)
            recording = Recording(self._model, {self._path: self._module}, gather)
            with recording:
                output = self._model(*args, **kwargs)
        if not recording.calls:
            raise ValueError(kinds.not_called(self._model, self._path, recording.uses(self._module)))
        self._require_mended([attention for call in recording.calls for attention in call.attentions], recording)
        return output

    def _require_mended(self, attentions: list[Attention], recording: Recording) -> None:
        """Raise ValueError where the module computed no attention, or one whose gathering was not replaced."""
        if not attentions:
            raise ValueError(f"{self._path!r} {kinds.without_attention(recording.calls[-1])}")
        for attention in attentions:
            if (problem := kinds.problem_of(attention)) is not None:  # some is known at the end alone
                raise ValueError(f"{self._path!r} {problem}")
            if attention not in self._mended:
                raise ValueError(
                    f"{self._path!r} returns the weights of its softmax and multiplies no values with them, so there "
                    "is nothing in it to mend; mend the module around it"
                )

    @contextmanager
    def _our_block(self):
        """Our own block knows GR and LR itself."""
        block = self._module
        kept = block.gate, block.lr_kernel, block.lr_weights
        given = nullcontext() if self._class_probs is None else _with_class_probs(block, self._class_probs)
        try:
            block.gate, block.lr_kernel = self._gate, None if self._lr is None else self._lr_kernel
            block.lr_weights = self._lr or "learnt"
            with given:
                yield
        finally:
            block.gate, block.lr_kernel, block.lr_weights = kept

    def _placed(self, attention: Attention, weights: Weights, images: int | None) -> Caught:
        """The attention with its tokens on their cells. Raises ValueError where these are not known."""
        try:
            layout = layout_of(attention, images)
        except ValueError as error:
            raise ValueError(f"{self._path!r} {error}") from None
        size = None if self._size is None else (self._size[0], self._size[1])
        if not (is_told(layout.query) or is_told(layout.key)):
            require_sizes(layout, size, size, False, self._path)
        caught = Caught(self._path, attention.form, weights, layout).placed(size, class_tokens=self._class_tokens)
        for name in ("query", "key"):
            side = getattr(layout, name)
            unplaced = name == "query" and asks_without_a_place(layout, size)
            if unplaced or (not is_told(side) and getattr(caught.layout, name).grid != size):
                raise ValueError(_without_places(self._path, name, side))
        return caught

    def _gather(self, probs: Tensor | None, gathering: Gathering, images: int | None) -> Tensor:
        """Mended weights times values: …×N×C."""
        attention = gathering.attention
        if (problem := kinds.problem_of(attention)) is not None:
            raise ValueError(f"{self._path!r} {problem}")
        assert attention.weights is not None
        caught = self._placed(attention, attention.weights, images)
        gating = probs if self._gate is not None else None
        require_mendable(self._path, caught.layout, self._lr, gating)
        asides.require_mendable(self._path, caught.layout, gating)
        leading, (groups, queries, _) = attention.weights.leading, attention.weights.shape
        value = gathering.value.expand(*leading, *gathering.value.shape[-2:]).reshape(
            groups, *gathering.value.shape[-2:]
        )
        gathered = value.new_empty(groups, queries, value.shape[-1])
        for image in range(caught.images):
            for window in range(caught.windows):
                mender = _Mender(self, caught, image, window, probs)
                for group in map(int, caught.layout.groups[image, window]):
                    for start in range(0, queries, QUERY_BLOCK):
                        block = torch.arange(start, min(start + QUERY_BLOCK, queries))
                        rows = mender.mended(group, block)
                        gathered[group, block] = (rows @ value[group].double()).to(value.dtype)
        self._mended.append(attention)
        attention.weights = None  # so that many calls take no memory, and none goes beyond what may be kept
        return gathered.reshape(*leading, queries, value.shape[-1])


class _Mender:
    """GR and LR of one window of one image."""

    def __init__(self, mended: Mended, caught: Caught, image: int, window: int, probs: Tensor | None):
        self._gate, self._lr, self._kernel = mended._gate, mended._lr, mended._lr_kernel
        self._caught, self._path = caught, mended._path
        query, key = caught.layout.query, caught.layout.key
        self._query_cells, self._key_cells = (torch.tensor(side.cells[image, window]) for side in (query, key))
        if self._gate is not None:
            assert probs is not None
            own = probs[image : image + 1].double()
            self._query_probs, self._key_probs = (_resized(own, side.grid).flatten(2) for side in (query, key))
        self._weights_of: dict[int, Tensor] = {}
        if self._lr is not None:
            cells = math.prod(key.grid)
            self._tokens = torch.argsort(self._key_cells)[-cells:]  # of the cells, row by row
            if caught.windows != 1 or self._key_cells[self._tokens].tolist() != list(range(cells)):
                raise ValueError(
                    f"{self._path!r} has keys in {caught.windows} windows or without a full map of {key.grid[0]}×"
                    f"{key.grid[1]} cells, and LR needs each key's neighbours; leave lr out"
                )

    def mended(self, group: int, queries: Tensor) -> Tensor:
        """Rows len(queries)×M of the mended weights."""
        rows = self._caught.weights.rows(group, queries)
        cells = self._query_cells[queries]
        asking = (cells >= 0).to(rows.device)[:, None]
        changed = rows
        if self._gate is not None:
            device = self._key_probs.device
            gates = gate_rows(
                self._query_probs[:, :, cells.clamp_min(0).to(device)],
                self._key_probs[:, :, self._key_cells.clamp_min(0).to(device)], self._gate,
            )[0].to(rows.device)  # fmt: skip
            changed = torch.where((self._key_cells >= 0).to(rows.device), rows * gates, rows)
        if self._lr is not None:
            tokens, changed = self._tokens.to(rows.device), changed.clone()
            on_map = changed[:, tokens].reshape(1, len(rows), *self._caught.layout.key.grid)
            changed[:, tokens] = retain_rows(on_map, self._retention(group, on_map))[0].flatten(1)
        return torch.where(asking, changed, rows)

    def _retention(self, group: int, like: Tensor) -> Tensor:
        """LR's weights 1×k²×h×w."""
        if group not in self._weights_of:
            grid, weights = self._caught.layout.key.grid, self._caught.weights
            if self._lr == "box":
                query = key = like.new_empty(1, 0, *grid)
            elif isinstance(weights, QueryKey) and weights.is_plain and self._caught.same_tokens:
                query, key = (
                    tensor[self._tokens.to(tensor.device)].double().t().reshape(1, -1, *grid)
                    for tensor in weights.operands(group)
                )
                query = query * weights.scale
            else:
                raise ValueError(
                    f"{self._path!r} has a bias, a mask or keys that are not its queries, and learnt LR needs query "
                    "and key of the same cells; choose lr='box'"
                )
            self._weights_of[group] = retention_weights(query, key, self._kernel, self._lr)
        return self._weights_of[group]


def _without_places(path: str, name: str, side: Side) -> str:
    names = {"query": "queries", "key": "keys"}[name]
    return (
        f"{path!r} has {side.cells.shape[2]} {names} that lie on no map that is known (object queries, prototypes, "
        "maps of several sizes), and what is no cell keeps its weights, so that GR and LR would change nothing; mend "
        "an attention of cells to cells, or give size=(height, width) if these are cells"
    )


def _resized(probs: Tensor, grid: tuple[int, int]) -> Tensor:
    if tuple(probs.shape[2:]) == tuple(grid):
        return probs
    return F.interpolate(probs, tuple(grid), mode="bilinear", align_corners=True)


def _logits(output: Any) -> Tensor:
    found = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if isinstance(output, dict):
        found = output.get("logits", output.get("out"))
    if not isinstance(found, Tensor) or found.ndim != 4:
        raise ValueError(
            "the model's output has no logits B×classes×H×W to take class probabilities from; give class_probs"
        )
    return found


@contextmanager
def _with_class_probs(block: DenoisedNonLocal2d, probs: Tensor):
    """The block gets logits that give these probabilities, at its own size."""

    def instead(module, args, kwargs):
        given = dict(zip(("features", "class_logits"), args, strict=False)) | kwargs
        given["class_logits"] = (
            _resized(probs, given["features"].shape[2:]).clamp_min(torch.finfo(probs.dtype).tiny).log()
        )
        return (), given

    handle = block.register_forward_pre_hook(instead, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
