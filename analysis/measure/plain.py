"""The passes over a block of queries by torch and NumPy."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.measure.passes import HOLLOW_THRESHOLDS, Place, Rows, Softmax
from analysis.noise import DetectionScores, RowSums, hollow_share, marked_keys, rank_scores


class PlainPasses:
    """`Passes` by torch and NumPy."""

    def softmax(self, scores: Tensor, order: np.ndarray, place: Place | None) -> Softmax:
        scores -= scores.amax(0)
        strongest = _first_zero(scores, order)
        values = scores.exp2()
        totals = values.sum(0).double().numpy()
        return Softmax(Rows(values, None if place is None else _sums(values, scores, place)), totals, strongest)

    def finished(self, values: Tensor, order: np.ndarray, place: Place | None) -> Softmax:
        sums = None if place is None else _sums(values, None, place)
        return Softmax(Rows(values, sums), np.ones(values.shape[1]), _first_zero(values - values.amax(0), order))

    def gate(self, similarity: Tensor, values: Tensor, place: Place, *, sigmoid: bool) -> Rows:
        if sigmoid:
            similarity.sigmoid_()
        gated = similarity.mul_(values)
        return Rows(gated, _sums(gated, None, place))

    def retain(self, values: Tensor, neighbours: Tensor, weights: Tensor, out: Tensor, place: Place) -> Rows:
        retained = F.embedding_bag(neighbours, values, per_sample_weights=weights, mode="sum")
        return Rows(retained, _sums(retained, None, place))

    def detection(self, values: Tensor, place: Place, chosen: np.ndarray) -> DetectionScores:
        columns = values[: place.labelled].numpy()
        if len(chosen) < columns.shape[1]:
            columns = columns[:, chosen]
        # Marked key by key, as the block lies, where S is one run of it.
        run = slice(*place.runs[place.own])
        keys = marked_keys(columns, run, (place.first + chosen, np.arange(len(chosen))))
        return rank_scores(np.ascontiguousarray(keys.T))


def _sums(values: Tensor, logs: Tensor | None, place: Place) -> RowSums:
    """The sums of rows N×M or labelled×M, unchanged on return. logs: base 2, of the values, used up; or None."""
    values = values[: place.labelled]
    start, stop = place.runs[place.own]
    own_cells = values[place.first : place.first + values.shape[1]].diagonal()
    given_to_itself = own_cells.clone()
    own_cells.zero_()
    if logs is None:
        logs = values.clamp_min(torch.finfo(values.dtype).tiny).log2_()
    logs = logs[: place.labelled].mul_(values)  # 0 log 0 is 0
    by_class = torch.stack([values[slice(*run)].sum(0) for run in place.runs])
    same, scratch = values[start:stop], logs[start:stop]
    same_log, all_log = (math.log(2) * part.sum(0) for part in (scratch, logs))
    mean = by_class[place.own] / (stop - start - 1 or 1)
    precision = str(values.dtype).removeprefix("torch.")
    limits = [hollow_share(threshold, precision) * mean for threshold in HOLLOW_THRESHOLDS]
    # The query itself stands at 0, below any limit but 0.
    below = torch.stack([torch.lt(same, limit, out=scratch).sum(0) - torch.sign(limit) for limit in limits], dim=1)
    highest = values.amax(0)
    own_cells.copy_(given_to_itself)
    return RowSums(*(part.double().numpy() for part in (by_class.T, same_log, all_log, highest, below)))


def _first_zero(below_peak: Tensor, order: np.ndarray) -> np.ndarray:
    """The first cell whose value is 0, the peak, for each query: N×M ≤ 0 -> M flat cells."""
    peaks = np.flatnonzero(below_peak.amax(1).numpy() == 0)
    peaks = peaks[np.argsort(order[peaks])]
    return order[peaks[np.argmax(below_peak[peaks].numpy(), axis=0)]]
