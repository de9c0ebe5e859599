"""Rows of the three attention maps for chosen queries, in float64."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from analysis.capture import Capture
from analysis.options import GATES, MapOptions
from dnl import attention
from dnl.attention import AttentionStages, attention_stages, gate_rows, retain_rows, retention_weights


class StageMaps(NamedTuple):
    """What M queries give to every key in each stage, M×h×w float64 each, h×w the grid of the keys."""

    raw: np.ndarray
    rectified: np.ndarray
    retained: np.ndarray


def attention_rows(
    capture: Capture,
    queries: Sequence[int] | np.ndarray | None = None,
    *,
    gate: str | None = "model",
    lr_kernel: int | str | None = "model",
    lr_weights: str = "model",
    temperature: float = 1.0,
) -> StageMaps:
    """What M queries give to every key in each stage.

    queries: flat cell indices row·w + column on the queries' grid, or numbers of queries without a place; None for
    all. gate: "model" (the capture's own), one of GATES, or None for no GR. lr_kernel: "model", an odd number of
    cells, or None for no LR. lr_weights: "model", "learnt" or "box". temperature divides the softmax's scores; 1 is
    the method. A capture of a finished map has no query and key: LR's weights can only be "box" there, and temperature
    1. Where the keys are other cells than the queries there is no GR, and LR's box alone, on the keys' grid. Raises
    ValueError on options that do not fit.
    """
    return stage_rows(capture, queries, MapOptions(gate, lr_kernel, lr_weights, temperature))


def stage_rows(capture: Capture, queries: Sequence[int] | np.ndarray | None, options: MapOptions) -> StageMaps:
    """`attention_rows` with its options as one value."""
    resolved = options.of(capture)
    if capture.key_size is not None or capture.query_names is not None:
        _require_plain(capture, resolved)
    probs, gate = _gate_inputs(capture, resolved.gate)
    common: dict[str, Any] = {
        **resolved.as_dict(),
        "gate": gate,
        "queries": None if queries is None else torch.from_numpy(np.asarray(queries, np.int64)),
    }
    if capture.query is not None and capture.key is not None and capture.key_size is None:
        stages = attention_stages(_batch(capture.query), _batch(capture.key), probs, **common)
    else:
        stages = _stages_of_rows(capture, probs, **common)
    return StageMaps(*(rows[0].numpy() for rows in stages))


def labels_apart(capture: Capture) -> np.ndarray | None:
    """The label of each query by the capture's `reference`, h×w, where the keys are other cells; else None.

    It is what `analysis.noise` takes as `query_labels`, beside the capture's `key_labels` as its labels.
    """
    return None if capture.key_size is None else capture.reference_labels


def oracle_probs(capture: Capture) -> np.ndarray:
    """The true cell labels as a class distribution: classes×h×w float64, one-hot, all zero where there is no label.

    Raises ValueError when the capture has no labels.
    """
    if capture.cell_labels is None:
        raise ValueError(f"the oracle gate needs true labels, and {capture.name!r} has none; choose another gate")
    classes = np.arange(capture.num_classes)[:, None, None]
    return (capture.cell_labels == classes).astype(np.float64)


def _stages_of_rows(
    capture: Capture,
    probs: torch.Tensor | None,
    *,
    queries: torch.Tensor | None,
    gate: str | None,
    lr_kernel: int | None,
    lr_weights: str,
    temperature: float,
) -> AttentionStages:
    """The stages out of the raw rows alone, each 1×M×h×w float64 on the keys' grid; options as in `attention_stages`.

    It is how a finished map has them, and keys that are other cells than the queries: without LR's learnt weights.
    """
    if capture.attention is not None and temperature != 1:
        raise ValueError(f"{_needs_query_and_key(capture, 'another temperature')}; leave it at 1")
    if lr_kernel is not None and lr_weights == "learnt":
        raise ValueError(f"{_needs_query_and_key(capture, 'LR with learnt weights')}; choose the box, or no LR")
    queries = _checked_queries(capture, queries)
    raw = _raw_rows(capture, queries, temperature)  # 1×M×h×w
    channelless = raw.new_empty(1, 0, *capture.key_cells)  # stands for the query and key that nothing reads
    attention.check_inputs(channelless, channelless, probs, gate=gate, lr_kernel=lr_kernel, lr_weights=lr_weights)
    rectified = raw
    if gate is not None:
        assert probs is not None  # as the inputs are checked
        flat = probs.flatten(2)
        rectified = raw * gate_rows(flat[:, :, queries], flat, gate).view_as(raw)
    retained = rectified
    if lr_kernel is not None:
        retained = retain_rows(rectified, retention_weights(channelless, channelless, lr_kernel, lr_weights))
    return AttentionStages(raw, rectified, retained)


def _checked_queries(capture: Capture, queries: torch.Tensor | None) -> torch.Tensor:
    """The flat indices of the queries, all where None; ValueError for one that there is not."""
    count = capture.height * capture.width
    if queries is None:
        return torch.arange(count)
    if queries.numel() and not (0 <= int(queries.min()) and int(queries.max()) < count):
        span = f"from {int(queries.min())} to {int(queries.max())}"
        if capture.query_names is not None:
            raise ValueError(f"queries run {span}; {capture.name!r} has the queries 0 … {count - 1}")
        raise ValueError(f"query cells run {span}; a {capture.height}×{capture.width} map has cells 0 … {count - 1}")
    return queries


def _raw_rows(capture: Capture, queries: torch.Tensor, temperature: float) -> torch.Tensor:
    """The raw rows of M queries, 1×M×h×w float64 on the keys' grid."""
    if capture.query is not None and capture.key is not None:
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; it must be above 0 (1 is the model's own)")
        chosen = _batch(capture.query).flatten(2)[:, :, queries]
        scores = torch.einsum("bdm,bdn->bmn", chosen, _batch(capture.key).flatten(2))
        rows = torch.softmax(scores / temperature, dim=-1)
    else:
        assert capture.attention is not None
        rows = _batch(capture.attention[queries.numpy()])
    return rows.unflatten(-1, capture.key_cells)


def _require_plain(capture: Capture, resolved: MapOptions) -> None:
    """Raises ValueError for GR and LR where keys are other cells than the queries, or have no place.

    GR compares the classes of a query's cell and a key's, LR's learnt weights take both from one cell.
    """
    height, width = capture.key_cells
    if capture.query_names is None or capture.key_size is not None:
        keys = f"the {height}×{width} keys of {capture.name!r} are others"
    else:
        keys = f"the keys of {capture.name!r} have no place"
    if resolved.gate is not None:
        raise ValueError(
            f"gate {resolved.gate!r} compares cells and needs keys that are the queries' cells, and {keys}; choose "
            "None for no GR"
        )
    if resolved.lr_kernel is not None and (capture.key_size is None or resolved.lr_weights == "learnt"):
        what = "LR" if capture.key_size is None else "LR with learnt weights"
        instead = "no LR" if capture.key_size is None else "the box, or no LR"
        raise ValueError(f"{what} needs keys that are the queries' cells, and {keys}; choose {instead}")


def _needs_query_and_key(capture: Capture, what: str) -> str:
    return f"{what} needs query and key, and {capture.name!r} is a finished attention map without them"


def _gate_inputs(capture: Capture, gate: str | None) -> tuple[torch.Tensor | None, str | None]:
    """The class distribution (1×classes×h×w) and the gate to compute with; the oracle is a gate on its own labels."""
    if gate is not None and gate not in GATES:
        raise ValueError(f"gate is {gate!r}; choose one of {', '.join(GATES)}, model, or None for no GR")
    if gate == "oracle":
        return _batch(oracle_probs(capture)), "similarity"
    if gate is not None and capture.class_probs is None:
        raise ValueError(f"gate {gate!r} needs class_probs, and {capture.name!r} has none; choose None for no GR")
    return (None if capture.class_probs is None else _batch(capture.class_probs)), gate


def _batch(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, np.float64))[None]
