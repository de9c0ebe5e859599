"""The lesson's small examples, each computed by the functions that the network and the noise report use.

A tiny street of 4×6 cells and three classes stands in for an image. Rows of attention are h×w float64 arrays.
"""

import copy
import math
from typing import Any, NamedTuple

import numpy as np
import torch

from analysis.noise import query_metrics
from dnl.attention import (
    GATES,
    attention_stages,
    denoised_attention,
    gate_rows,
    retain_rows,
    retain_values,
    retention_weights,
)
from dnl.evaluate import altered_attention
from dnl.network import SegmentationNetwork
from dnl.transforms import normalise

CLASS_NAMES = ("sky", "tree", "road")
SKY, TREE, ROAD = range(3)
# A road under trees, with one trunk standing in it.
LABELS = np.array(
    [
        [SKY, SKY, SKY, SKY, TREE, TREE],
        [SKY, SKY, TREE, TREE, TREE, TREE],
        [ROAD, ROAD, ROAD, ROAD, TREE, ROAD],
        [ROAD, ROAD, ROAD, ROAD, ROAD, ROAD],
    ]
)
QUERY = (3, 0)
# Road cells that the query's row leaves out in the example of LR, and ones that GR takes for trees.
HOLE = ((3, 2), (3, 3))
MISTAKEN = ((2, 5), (3, 5))
NO_CLASS = -1

FIGURES = ("interclass_noise", "chance", "intraclass_noise", "hollow_fraction", "kept_mass", "effective_keys")


# --- softmax ---------------------------------------------------------------------------------------------------------


def softmax_row(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """The raw row of a query whose scores with the cells are `scores` (h×w): positive, sum 1. Temperature above 0."""
    key = _batch(scores)
    return (
        attention_stages(
            torch.ones_like(key), key, queries=torch.tensor([0]), gate=None, lr_kernel=None, temperature=temperature
        )
        .raw[0, 0]
        .numpy()
    )


class Saturation(NamedTuple):
    """Mean raw row with its keys sorted, strongest first (length keys); its top mass; mean effective keys."""

    sorted_row: np.ndarray
    top_mass: float
    effective_keys: float


def saturation(channels: int, *, scaled: bool, keys: int = 100, seed: int = 0) -> Saturation:
    """Softmax over independent standard normal queries and keys of `channels` channels; scaled: scores over √channels.

    Means over `keys` queries. Without the scale the scores' standard deviation is √channels.
    """
    numbers = np.random.default_rng(seed).standard_normal((2, channels, 1, keys))
    rows = (
        attention_stages(
            _batch(numbers[0]),
            _batch(numbers[1]),
            gate=None,
            lr_kernel=None,
            temperature=math.sqrt(channels) if scaled else 1.0,
        )
        .raw[0, :, 0]
        .numpy()
    )
    entropy = -(rows * np.log(np.maximum(rows, np.finfo(float).tiny))).sum(axis=1)
    sorted_row = -np.sort(-rows, axis=1).mean(axis=0)
    return Saturation(sorted_row, float(sorted_row[0]), float(np.exp(entropy).mean()))


# --- noise -----------------------------------------------------------------------------------------------------------


def noisy_row(astray: float, unevenness: float) -> np.ndarray:
    """A row of QUERY on the tiny street, sum 1, nothing on the query itself.

    astray: share of the mass on other classes, spread evenly. unevenness: share of the rest that lies on one single
    road cell, the query's neighbour; what is left is spread evenly over the road. Both in 0 … 1.
    """
    same, other = _sets()
    row = np.zeros(LABELS.shape)
    row[other] = astray / other.sum()
    row[same] = (1 - astray) * (1 - unevenness) / same.sum()
    row[QUERY[0], QUERY[1] + 1] += (1 - astray) * unevenness
    return row


def row_figures(row: np.ndarray) -> dict[str, float | None]:
    """FIGURES of one row of QUERY on the tiny street, None where one is undefined."""
    metrics = query_metrics(row[None], LABELS, [QUERY[0] * LABELS.shape[1] + QUERY[1]], ignore_index=NO_CLASS)
    values = {name: float(getattr(metrics, name)[0]) for name in FIGURES}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _sets() -> tuple[np.ndarray, np.ndarray]:
    """The cells of the query's class but for the query, and those of other classes: two h×w masks."""
    same = LABELS == LABELS[QUERY]
    other = ~same
    same[QUERY] = False
    return same, other


# --- GR --------------------------------------------------------------------------------------------------------------


def class_distribution(labels: np.ndarray, confidence: float) -> np.ndarray:
    """classes×h×w: each cell's label gets `confidence`, the other classes share the rest evenly."""
    classes = np.arange(len(CLASS_NAMES))[:, None, None]
    return np.where(labels[None] == classes, confidence, (1 - confidence) / (len(CLASS_NAMES) - 1))


def gates_of(query_probs: np.ndarray, key_probs: np.ndarray) -> dict[str, np.ndarray]:
    """Each gate's value between pairs of cells: query_probs, key_probs classes×pairs -> gate -> length pairs."""
    first, second = (torch.from_numpy(probs.T[:, :, None].copy()) for probs in (query_probs, key_probs))
    return {gate: gate_rows(first, second, gate)[:, 0, 0].numpy() for gate in GATES}


def gate_curves(confidence: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """gate -> its value between two cells of the same class, and of two classes, both as sure as `confidence`."""
    rest = (1 - confidence) / (len(CLASS_NAMES) - 1)
    road, tree = np.stack([rest, rest, confidence]), np.stack([rest, confidence, rest])
    same, other = gates_of(road, road), gates_of(road, tree)
    return {gate: (same[gate], other[gate]) for gate in GATES}


def sigmoid_gate_range() -> tuple[float, float]:
    """The least and the greatest value of the sigmoid gate: of cells without a common class, and of sure ones."""
    sure = np.eye(2)
    gates = gates_of(sure, sure[:, ::-1])["sigmoid"], gates_of(sure, sure)["sigmoid"]
    return float(gates[0][0]), float(gates[1][0])


def rectified_row(row: np.ndarray, gate: str, confidence: float, *, mistaken: bool = False) -> np.ndarray:
    """The row of QUERY after GR, where each cell's class is predicted with `confidence`; h×w, not renormalised.

    mistaken: the prediction takes the cells MISTAKEN for trees.
    """
    predicted = LABELS.copy()
    if mistaken:
        predicted[tuple(zip(*MISTAKEN, strict=True))] = TREE
    probs = torch.from_numpy(class_distribution(predicted, confidence)).flatten(1)[None]  # 1×classes×N
    query = QUERY[0] * LABELS.shape[1] + QUERY[1]
    return row * gate_rows(probs[:, :, [query]], probs, gate)[0, 0].numpy().reshape(row.shape)


# --- LR --------------------------------------------------------------------------------------------------------------


def hollow_row() -> np.ndarray:
    """A row with a hollow, sum 1: even on the road but for HOLE, which has nothing; a little on everything else."""
    row = np.where(LABELS == ROAD, 1.0, 0.15)
    row[tuple(zip(*HOLE, strict=True))] = 0
    return row / row.sum()


class Retention(NamedTuple):
    """`row` h×w after LR. `weights` k²×h×w: what each cell takes from its neighbours, in the order of the window."""

    row: np.ndarray
    weights: np.ndarray


def retained_row(row: np.ndarray, *, same_score: float, other_score: float, kernel: int = 3) -> Retention:
    """LR on a row, where q·k is `same_score` between cells of one class and `other_score` between two classes."""
    query = torch.from_numpy(class_distribution(LABELS, 1.0))[None]
    key = torch.where(query > 0, same_score, other_score).to(query.dtype)
    weights = retention_weights(query, key, kernel)
    return Retention(retain_rows(_batch(row), weights)[0, 0].numpy(), weights[0].numpy())


class Folding(NamedTuple):
    """One small block, N cells: `value` and LᵀV (`folded_value`) h×w; the maps N×N; the product both ways, h×w.

    unfolded: A″V. folded: A′(LᵀV). block: what `denoised_attention` gives.
    """

    value: np.ndarray
    folded_value: np.ndarray
    rectified: np.ndarray
    retained: np.ndarray
    unfolded: np.ndarray
    folded: np.ndarray
    block: np.ndarray


def folding_example(seed: int, *, kernel: int = 3, gate: str = "sigmoid", size: tuple[int, int] = (2, 3)) -> Folding:
    """A″V = A′(LᵀV) with random queries, keys and class distributions, and whole numbers 1 … 9 as values."""
    rng = np.random.default_rng(seed)
    query, key = (_batch(rng.standard_normal((2, *size))) for _ in range(2))
    probs = torch.from_numpy(rng.dirichlet(np.ones(3), size).transpose(2, 0, 1).copy())[None]
    value = _batch(rng.integers(1, 10, size))
    stages = attention_stages(query, key, probs, gate=gate, lr_kernel=kernel)
    folded_value = retain_values(value, retention_weights(query, key, kernel))
    rectified, retained = (rows[0].flatten(1).numpy() for rows in (stages.rectified, stages.retained))
    block = denoised_attention(query, key, value, probs, gate=gate, lr_kernel=kernel)
    values, folded_values, block_output = (maps[0, 0].numpy() for maps in (value, folded_value, block))
    return Folding(
        value=values,
        folded_value=folded_values,
        rectified=rectified,
        retained=retained,
        unfolded=(retained @ values.ravel()).reshape(size),
        folded=(rectified @ folded_values.ravel()).reshape(size),
        block=block_output,
    )


class Cost(NamedTuple):
    """What LR adds: numbers held in memory at a time, and multiplications; `product`: those of A′V itself, N²·C."""

    unfolded_numbers: int
    folded_numbers: int
    unfolded_multiplications: int
    folded_multiplications: int
    product: int


def retention_cost(cells: int, *, kernel: int = 3, channels: int = 512) -> Cost:
    """LR on `cells` = N cells. Unfolded: the map's k² shifted copies and their weighted ones, k²·N² numbers each.
    Folded into the values: k²·N weights and C·N new values."""
    window = kernel**2
    return Cost(
        unfolded_numbers=2 * window * cells**2,
        folded_numbers=(window + channels) * cells,
        unfolded_multiplications=window * cells**2,
        folded_multiplications=window * cells * channels,
        product=cells**2 * channels,
    )


# --- the real model --------------------------------------------------------------------------------------------------

# What the lesson puts in the place of the learnt attention.
ALTERATIONS: dict[str, dict[str, Any]] = {
    "learnt": {},
    "uniform": {"source": "uniform"},
    "mean": {"source": "mean"},
    "off": {"gamma": 0.0},
}


def altered_predictions(model: SegmentationNetwork, image: np.ndarray, name: str = "image") -> dict[str, np.ndarray]:
    """The predicted classes (H×W uint8) of an image H×W×3 uint8 under each of ALTERATIONS; the model stays as it is.

    Raises ValueError for a model without attention, and for weights that lead to logits that are no finite numbers.
    """
    if model.context is None:
        raise ValueError("this model has no attention block (context 'fcn'); choose one with context nl … dnl")
    changed = copy.deepcopy(model)  # others may be using the model at this moment
    predictions = {}
    with torch.inference_mode():
        encoding = changed.encode(normalise(image)[None])
        for kind, alteration in ALTERATIONS.items():
            with altered_attention(changed, **alteration):
                logits = changed.decode(encoding, changed.gather(encoding), image.shape[:2]).logits
            if not logits.isfinite().all():
                raise ValueError(
                    f"the network's weights are broken or too large for {name!r}: its logits are not finite"
                )
            predictions[kind] = logits[0].argmax(dim=0).to(torch.uint8).numpy()
    return predictions


def pixel_accuracy(prediction: np.ndarray, labels: np.ndarray, ignore_index: int) -> float:
    """Share of the labelled pixels of H×W that are predicted rightly, 0 … 1; NaN where no pixel is labelled."""
    labelled = labels != ignore_index
    return float((prediction == labels)[labelled].mean()) if labelled.any() else math.nan


def cells_of_class(cell_labels: np.ndarray, label: int, count: int = 12) -> np.ndarray:
    """Up to `count` flat cells of a class in h×w labels, spread evenly over all of its cells in reading order."""
    cells = np.flatnonzero(cell_labels.ravel() == label)
    return cells[np.linspace(0, len(cells) - 1, min(count, len(cells))).round().astype(int)] if len(cells) else cells


def _batch(array: np.ndarray) -> torch.Tensor:
    """h×w or C×h×w -> 1×C×h×w float64."""
    array = np.asarray(array, np.float64)
    return torch.from_numpy(array.reshape(1, -1, *array.shape[-2:]).copy())
