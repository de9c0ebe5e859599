"""What one stage or network changes of another's figures: paired by image, with intervals and tests."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from analysis import noise
from analysis.intervals import holm
from analysis.measure.estimates import Estimator, grouping_of
from analysis.measure.records import RECORD_METRICS, ImageRecord
from analysis.measure.tables import Tables

METRICS = tuple(metric for metric in RECORD_METRICS if metric != "chance")
STAGE_PAIRS = (("rectified", "raw"), ("retained", "rectified"), ("retained", "raw"))
# Metrics whose differences are tested, class by class too; also those of each group.
NOISE_METRICS = ("interclass_noise", "intraclass_noise", "hollow_fraction")


def stage_differences(tables: Tables, class_names: Sequence[str], estimator: Estimator) -> dict:
    """What each step changes of each metric, paired by image: "later - earlier" -> metric -> its macro difference."""
    return {
        f"{later} - {earlier}": {
            metric: _difference(
                metric, tables.table("all", earlier, metric), tables.table("all", later, metric), class_names, estimator
            )
            for metric in METRICS
        }
        for later, earlier in STAGE_PAIRS
        if {later, earlier} <= set(tables.stages)
    }


def checkpoint_differences(
    records: Mapping[str, Sequence[ImageRecord]],
    num_classes: int,
    *,
    seed: int = 0,
    min_cells: int = noise.MIN_CELLS,
    min_images: int = noise.MIN_IMAGES,
    class_names: Sequence[str] | None = None,
) -> dict:
    """How checkpoints differ: "second - first" -> {"images": n, "stages": {stage: {metric: {"mean", "low", "high"}}}}.

    records: checkpoint name -> its records. Paired by image: only images and classes that both have are compared. The
    entries of NOISE_METRICS have the test of their difference as in `data_set_summary`. class_names: how "per_class"
    calls the classes; by their numbers if not given.
    """
    names = [str(number) for number in range(num_classes)] if class_names is None else class_names
    differences = {}
    for first, second in combinations(records, 2):
        own, other = ({record.name: record for record in records[name]} for name in (first, second))
        shared = [name for name in own if name in other]
        stages: dict[str, dict] = {}
        if shared:
            earlier = Tables([own[name] for name in shared], num_classes, min_cells)
            later = Tables([other[name] for name in shared], num_classes, min_cells)
            estimator = Estimator(grouping_of([own[name] for name in shared]), min_images, seed)
            for stage in (stage for stage in earlier.stages if stage in later.stages):
                stages[stage] = {
                    metric: _difference(
                        metric,
                        earlier.table("all", stage, metric),
                        later.table("all", stage, metric),
                        names,
                        estimator,
                    )
                    for metric in METRICS
                }
        differences[f"{second} - {first}"] = {"images": len(shared), "stages": stages}
    return differences


def _difference(
    metric: str, earlier: np.ndarray, later: np.ndarray, class_names: Sequence[str], estimator: Estimator
) -> dict:
    """later − earlier, tables images×classes: its macro mean, for NOISE_METRICS with the test of it and of each class.

    p_holm is p corrected for the number of classes.
    """
    if metric not in NOISE_METRICS:
        return estimator.macro(later - earlier)
    macro, classes = estimator.test(earlier, later)
    corrected = holm([entry["p"] for entry in classes.values()])
    per_class = {
        class_names[index]: {**entry, "p_holm": p_holm}
        for (index, entry), p_holm in zip(classes.items(), corrected, strict=True)
    }
    return {**macro, "per_class": per_class}
