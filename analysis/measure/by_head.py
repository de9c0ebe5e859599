"""Noise by layer and head over a data set: the records of each head's images -> figures with their uncertainty."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analysis import noise
from analysis.capture import Layers, quietly
from analysis.measure.data_set import GROUP_METRICS, split_block
from analysis.measure.estimates import Estimator, grouping_of, interval_facts
from analysis.measure.image import MeasureOptions, UnlabelledError, measure_capture
from analysis.measure.records import ImageRecord, image_record
from analysis.measure.tables import Tables
from analysis.options import STAGES
from dnl.datasets import Origin, group_sizes

# Of each head and stage, with their classes.
HEAD_METRICS = (*GROUP_METRICS, "effective_keys")


class Head(NamedTuple):
    """Which attention of a network: a layer's name, and a head's number."""

    layer: str
    head: int


def head_records(layers: Layers, options: MeasureOptions) -> dict[Head, ImageRecord]:
    """The record of each head of each layer of one image, without AUC and average precision.

    Raises ValueError, which names the head, where it cannot be measured: without labels, or with weights below 0;
    UnlabelledError where labels leave no cell of a layer with one.
    """
    found = {}
    for layer in layers:
        for number in layer.heads:
            capture = quietly(layer, number)
            try:
                report = measure_capture(capture, options, detection=False)
            except ValueError as error:
                kind = UnlabelledError if isinstance(error, UnlabelledError) else ValueError
                raise kind(f"head {number} of {layer.name or 'the layer'}: {error}") from error
            found[Head(layer.name, number)] = image_record(report)
    return found


def heads_summary(
    records: Mapping[Head, Sequence[ImageRecord]],
    class_names: Sequence[str],
    *,
    seed: int = 0,
    min_cells: int = noise.MIN_CELLS,
    min_images: int = noise.MIN_IMAGES,
) -> dict:
    """The figures of every head, ready for JSON: what is undefined is None.

    records: of each head one an image, the same images in the same order for all. "layers": layer -> {"controls":
    {"uniform": …}, the same for all heads, "heads": number -> {"stages": stage -> metric -> figures, …}}; figures are
    as in `data_set_summary`, of HEAD_METRICS. "lowest" and "highest": the heads with the least and the most raw
    interclass noise over chance. "intervals": of
    the first head that has noise. Raises ValueError without records.
    """
    if not records or not all(records.values()):
        raise ValueError("there is no image to summarise; give at least one record of each head")
    first = next(iter(records.values()))
    grouping = grouping_of(first)
    estimator = Estimator(grouping, min_images, seed)
    layers: dict[str, dict] = {}
    for (name, number), own in records.items():
        tables = Tables(own, len(class_names), min_cells)
        stages = {stage: _figures(tables, stage, class_names, estimator) for stage in tables.stages}
        layer = layers.setdefault(name, {"controls": {}, "heads": {}})
        uniform = stages.pop("uniform", None)
        if uniform is not None and not _known(layer["controls"].get("uniform")):
            layer["controls"]["uniform"] = uniform
        layer["heads"][str(number)] = {"stages": stages, **_facts(own, tables)}
    tables_of_heads = [_raw_noise(own, len(class_names), min_cells) for own in records.values()]
    # A head whose rows are all emptied says nothing of the images.
    raw = next((table for table in tables_of_heads if np.isfinite(table).any()), tables_of_heads[0])
    images_of_class = np.isfinite(raw).sum(axis=0)
    return {
        "images": len(first),
        "label_source": " and ".join(sorted({record.label_source for record in first})),
        "groups": group_sizes(Origin(record.group, record.place) for record in first),
        "layers": layers,
        **_extremes(layers),
        "classes_left_out": {
            name: int(count) for name, count in zip(class_names, images_of_class, strict=True) if count < min_images
        },
        "limits": {"min_cells": min_cells, "min_images": min_images},
        "intervals": interval_facts(estimator.interval(raw), grouping, seed),
    }


def stages_of(summary: Mapping) -> tuple[str, ...]:
    """The method's own stages that some head of a `heads_summary` has."""
    there = {
        stage for layer in summary["layers"].values() for head in layer["heads"].values() for stage in head["stages"]
    }
    return tuple(stage for stage in STAGES if stage in there)


def unlike_classes(summary: Mapping) -> str:
    """That layers of a `heads_summary` are averaged over different classes, and which each lacks; "" if they are not.

    So it is where cells are of several sizes: a small class has fewer than `min_cells` of the large ones.
    """
    classes: dict[str, dict[str, None]] = {}
    for name, layer in summary["layers"].items():
        heads = [head["stages"]["raw"]["interclass_noise"]["per_class"] for head in layer["heads"].values()]
        classes[name] = dict.fromkeys(of_class for per_class in heads for of_class in per_class)
    every = dict.fromkeys(of_class for own in classes.values() for of_class in own)
    lacking = {name: [of_class for of_class in every if of_class not in own] for name, own in classes.items()}
    if not any(lacking.values()):
        return ""
    words = "; ".join(f"{name} has none for {', '.join(lacks)}" for name, lacks in lacking.items() if lacks)
    told = "The layers are averaged over different classes, as their cells differ, so compare them class by class"
    return f"{told}: {words}."


def _raw_noise(records: Sequence[ImageRecord], num_classes: int, min_cells: int) -> np.ndarray:
    return Tables(records, num_classes, min_cells).table("all", "raw", "interclass_noise")


def _known(figures: Mapping | None) -> bool:
    return figures is not None and figures["interclass_noise"]["mean"] is not None


def _figures(tables: Tables, stage: str, class_names: Sequence[str], estimator: Estimator) -> dict[str, dict]:
    found = {}
    for metric in HEAD_METRICS:
        block, classes = split_block(tables, "all", stage, metric, estimator)
        found[metric] = {**block, "per_class": {class_names[index]: entry for index, entry in classes.items()}}
    return found


def _facts(records: Sequence[ImageRecord], tables: Tables) -> dict:
    return {
        "queries": sum(record.queries for record in records),
        "emptied": {stage: tables.emptied(stage) for stage in tables.stages if stage != "uniform"},
        "query_dependence": tables.query_dependence(),
        "distinct_argmax_keys": float(np.mean([record.distinct_argmax_keys for record in records])),
    }


def _extremes(layers: Mapping[str, Mapping]) -> dict[str, dict | None]:
    """The heads with the lowest and the highest raw noise over chance; None where none has any."""
    known = [
        {"layer": name, "head": int(number), "times_chance": times}
        for name, layer in layers.items()
        for number, head in layer["heads"].items()
        if (times := head["stages"]["raw"]["interclass_noise"]["times_chance"]) is not None
    ]
    ends = {"lowest": min, "highest": max}
    return {name: end(known, key=lambda head: head["times_chance"]) if known else None for name, end in ends.items()}
