"""Several networks as one, such as seeds of one recipe: their records image by image, and how far they differ."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.measure.differences import NOISE_METRICS
from analysis.measure.estimates import Estimator, grouping_of
from analysis.measure.records import ImageRecord
from analysis.measure.tables import Tables


def pooled(records: Sequence[ImageRecord]) -> ImageRecord:
    """One image's record over several networks: the queries of all of them count, each as much as another.

    Counts of queries, of emptied rows and of what was left out are those of all networks together; query dependence,
    distinct argmax keys and noise maps are their means. Raises ValueError for records of other images, classes or
    stages.
    """
    first = records[0]
    for record in records[1:]:
        for field in ("name", "label_source", "stages", "image_sha256"):
            ours, theirs = getattr(first, field), getattr(record, field)
            if ours != theirs:
                raise ValueError(
                    f"{field} is {ours!r} for one network and {theirs!r} for another; they must be the same"
                )
        if not np.array_equal(first.classes, record.classes) or not np.array_equal(first.cells, record.cells):
            raise ValueError(f"{first.name} has other labels for one network than for another; they must be the same")
    summed = ("totals", "counts", "leakage_totals", "leakage_queries", "hollow_totals", "emptied", "left_out")
    counted = ("queries", "detection_queries")
    return dataclasses.replace(
        first,
        **{field: sum(getattr(record, field) for record in records) for field in (*summed, *counted)},
        effective_keys=np.concatenate([record.effective_keys for record in records]),
        query_dependence=float(np.mean([record.query_dependence for record in records])),
        distinct_argmax_keys=float(np.mean([record.distinct_argmax_keys for record in records])),
        detection_sampled=any(record.detection_sampled for record in records),
        noise_maps={
            stage: np.mean([record.noise_maps[stage] for record in records], axis=0) for stage in first.noise_maps
        },
    )


def network_spread(
    records: Mapping[str, Sequence[ImageRecord]], num_classes: int, *, min_cells: int, min_images: int
) -> dict:
    """How far networks that are taken as one differ: stage -> metric of NOISE_METRICS -> {"networks", "deviation"}.

    records: network -> its records. networks: the macro mean of each, None where it has none. deviation: their standard
    deviation (n − 1), None with fewer than two means.
    """
    tables = {name: Tables(own, num_classes, min_cells) for name, own in records.items()}
    estimators = {name: Estimator(grouping_of(own), min_images) for name, own in records.items()}
    stages = [
        stage for stage in next(iter(tables.values())).stages if all(stage in own.stages for own in tables.values())
    ]
    spread: dict[str, dict] = {}
    for stage in stages:
        spread[stage] = {}
        for metric in NOISE_METRICS:
            means = {name: estimators[name].macro_mean(own.table("all", stage, metric)) for name, own in tables.items()}
            known = [mean for mean in means.values() if mean is not None]
            deviation = float(np.std(known, ddof=1)) if len(known) > 1 else None
            spread[stage][metric] = {"networks": means, "deviation": deviation}
    return spread
