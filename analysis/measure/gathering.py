"""One pass over a capture's attention: the sums of every query in each stage, its blocks shared among threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch

from analysis import noise
from analysis.capture import Capture
from analysis.maps import stage_rows
from analysis.measure.passes import HOLLOW_THRESHOLDS, Rows
from analysis.measure.streaming import (
    QUERY_BLOCK,
    Block,
    StreamedStages,
)
from analysis.noise import DetectionScores, QuerySets, RowSums
from analysis.options import MapOptions
from analysis.threads import share


class Gathered(NamedTuple):
    """One stage's sums, of all N cells in order; NaN at cells without a label. scale: see `noise.metrics_from_sums`.

    detection: the scores of the detection queries, whether they are defined or not.
    """

    sums: RowSums
    scale: np.ndarray
    detection: DetectionScores

    @classmethod
    def empty(cls, cells: int, classes: int, detected: int) -> Gathered:
        """Room for the sums of `cells` queries on `classes` classes, and for the scores of `detected` of them: NaN."""
        columns = [np.full(cells, np.nan) for _ in range(4)]
        by_class, below = np.full((cells, classes), np.nan), np.full((cells, len(HOLLOW_THRESHOLDS)), np.nan)
        sums = RowSums(by_class, columns[0], columns[1], columns[2], below)
        return cls(sums, columns[3], DetectionScores(*np.full((2, detected), np.nan)))


def gather(
    stages: StreamedStages, detected: np.ndarray, progress: Callable[[float], None], threads: int
) -> tuple[dict[str, Gathered], np.ndarray]:
    """All queries once through all stages: the sums of each stage, and each query's strongest raw key (N flat cells).

    detected: the flat cells whose detection scores are wanted. progress: called with the share done, 0 … 1.
    """
    cells = stages.cells
    count = len(cells.order)
    gathered = {name: Gathered.empty(count, len(cells.runs), len(detected)) for name in stages.stages}
    strongest = np.empty(count, np.int64)
    place_of = np.full(count, -1)  # of each cell among the detection queries
    place_of[detected] = np.arange(len(detected))

    @torch.inference_mode()
    def work(block: Block) -> int:
        """Every block writes to the places of its own queries."""
        queries = cells.order[block.first : block.stop]
        raw = stages.raw(block)
        strongest[queries] = raw.strongest
        if block.run is not None:
            places = place_of[queries]
            _put(gathered["raw"], stages, block, raw.rows, raw.scale, places)
            for name, rows, scale in stages.maps(block, raw):
                _put(gathered[name], stages, block, rows, scale, places)
        return len(queries)

    finished = 0
    with closing(share(work, cells.blocks(), threads)) as results:
        for queries in results:
            finished += queries
            progress(finished / count)
    return gathered, strongest


def _put(
    into: Gathered,
    stages: StreamedStages,
    block: Block,
    rows: Rows,
    scale: np.ndarray,
    places: np.ndarray,
) -> None:
    """Write a block's sums and scores to its queries' places. places: theirs among the detection queries, or −1."""
    queries, place = stages.cells.order[block.first : block.stop], stages.cells.place_of(block)
    assert rows.sums is not None  # as the block has a place
    for whole, part in zip(into.sums, rows.sums, strict=True):
        whole[queries] = part
    into.scale[queries] = scale
    chosen = np.flatnonzero(places >= 0)
    if chosen.size:
        scores = stages.passes.detection(rows.values, place, chosen)
        for whole, part in zip(into.detection, scores, strict=True):
            whole[places[chosen]] = part


def gather_rows(
    capture: Capture,
    options: MapOptions,
    stages: Sequence[str],
    labels: tuple[np.ndarray, np.ndarray],
    detected: np.ndarray,
    progress: Callable[[float], None],
    threads: int,
) -> tuple[dict[str, Gathered], np.ndarray]:
    """What `gather` gives, out of whole rows, for keys that are other cells than the queries.

    stages: which of STAGES are wanted. labels: those of all queries, and those of all keys. It is slower than `gather`,
    which sorts cells that are queries and keys at once.
    """
    query_labels, key_labels = labels
    count, ignore_index = query_labels.size, capture.ignore_index
    classes = noise.query_sets(key_labels, ignore_index=ignore_index, query_labels=query_labels).classes
    gathered = {name: Gathered.empty(count, len(classes), len(detected)) for name in stages}
    strongest = np.empty(count, np.int64)

    def work(first: int) -> int:
        """Every block writes to the places of its own queries."""
        queries = np.arange(first, min(first + QUERY_BLOCK, count))
        maps = stage_rows(capture, queries, options)
        strongest[queries] = noise.argmax_keys(maps.raw)
        chosen = np.isin(queries, detected)
        places = np.searchsorted(detected, queries[chosen])
        for name, into in gathered.items():
            rows = noise.prepared_rows(getattr(maps, name), key_labels, queries, ignore_index, query_labels)
            for whole, part in zip(into.sums, noise.row_sums(rows, HOLLOW_THRESHOLDS), strict=True):
                whole[queries] = part
            into.scale[queries] = 1
            for whole, part in zip(into.detection, noise.found_scores(rows), strict=True):
                whole[places] = part[chosen]
        return len(queries)

    finished = 0
    with closing(share(work, range(0, count, QUERY_BLOCK), threads)) as results:
        for queries in results:
            finished += queries
            progress(finished / count)
    return gathered, strongest


def uniform(sets: QuerySets, key_labels: np.ndarray, detected: np.ndarray) -> Gathered:
    """Uniform attention, exactly: 1 on every key, and 1/N as each row's factor. key_labels: of all N keys."""
    count = len(sets.queries)
    sizes = [np.count_nonzero(key_labels == label) for label in sets.classes]
    by_class = np.tile(np.array(sizes, float), (count, 1))
    by_class[np.flatnonzero(sets.labelled), sets.own[sets.labelled]] = sets.same_count[sets.labelled]
    zeros = np.zeros(count)
    below = np.zeros((count, len(HOLLOW_THRESHOLDS)))  # no cell is below the mean, and no τ is above 1
    sums = RowSums(by_class, zeros, zeros, np.ones(count), below)
    same, other = sets.same_count[detected], sets.other_count[detected]
    precision = same / np.maximum(same + other, 1)
    factor = np.full(count, 1 / key_labels.size)
    return Gathered(sums, factor, DetectionScores(np.full(len(detected), 0.5), precision))
