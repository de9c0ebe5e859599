"""Figures of every head over images, on maps whose noise is known by hand."""

import dataclasses

import numpy as np
import pytest

from analysis.intervals import ratio_interval
from analysis.measure import (
    Head,
    MeasureOptions,
    head_records,
    heads_summary,
    noise_of_heads,
    stages_of,
    unlike_classes,
)
from tests.analysis.measure.test_heads import layers

NAMES = ("a", "b")


def summary_of(*images, **limits):
    records = [head_records(image, MeasureOptions()) for image in images]
    return heads_summary(
        {head: [each[head] for each in records] for head in records[0]},
        NAMES,
        **({"min_cells": 1, "min_images": 1} | limits),
    )


def test_each_head_has_its_figures_and_its_layer_the_control():
    found = summary_of(layers())
    by_head = {
        (name, number): head["stages"]["raw"]["interclass_noise"]
        for name, layer in found["layers"].items()
        for number, head in layer["heads"].items()
    }
    # Without the query's own cell there is one cell of its class and two others.
    assert [entry["times_chance"] for entry in by_head.values()] == [pytest.approx(1), 0, pytest.approx(1.5)]
    assert list(by_head) == [("b.0", "0"), ("b.0", "1"), ("b.1", "7")]
    assert by_head["b.1", "7"]["per_class"]["a"] == {
        "mean": 1, "low": None, "high": None, "images": 1, "chance": pytest.approx(2 / 3),
    }  # fmt: skip
    control = found["layers"]["b.0"]["controls"]["uniform"]["interclass_noise"]
    assert control["mean"] == pytest.approx(2 / 3) and control["times_chance"] == pytest.approx(1)
    assert stages_of(found) == ("raw",) and "rectified" not in str(found)
    assert (found["lowest"]["head"], found["highest"]["head"], found["images"]) == (1, 7, 1)
    assert "1 image" in found["intervals"]["reason"]


def test_layers_that_measure_other_classes_are_named():
    assert unlike_classes(summary_of(layers())) == ""
    found = summary_of(layers())
    for head in found["layers"]["b.0"]["heads"].values():
        del head["stages"]["raw"]["interclass_noise"]["per_class"]["b"]  # as where cells are few and large
    assert unlike_classes(found).endswith("compare them class by class: b.0 has none for b.")


def test_the_figures_of_one_image_are_those_of_noise_of_heads():
    rng = np.random.default_rng(0)
    image = layers()
    for layer in image:
        maps = rng.random(layer.arrays["attention"].shape)
        layer.arrays["attention"] = (maps / maps.sum(axis=2, keepdims=True)).astype(np.float32)
    found = summary_of(image)["layers"]
    for head in noise_of_heads(image):
        figures = found[head.layer]["heads"][str(head.head)]["stages"]["raw"]
        assert figures["interclass_noise"]["mean"] == pytest.approx(head.interclass_noise)
        assert figures["intraclass_noise"]["mean"] == pytest.approx(head.intraclass_noise)


def test_several_images_have_intervals_by_their_groups():
    records = head_records(layers(), MeasureOptions())
    noise = np.array([0.2, 0.3, 0.25, 0.4])
    head = Head("b.0", 0)
    images = []
    for place, value in enumerate(noise):
        record = dataclasses.replace(records[head], totals=records[head].totals.copy())
        record.totals[:, 0, 0] = value * record.counts[:, 0, 0]  # raw, interclass noise
        images.append(dataclasses.replace(record, name=str(place)))
    found = heads_summary({head: images}, NAMES, min_cells=1, min_images=1)
    entry = found["layers"]["b.0"]["heads"]["0"]["stages"]["raw"]["interclass_noise"]
    expected = ratio_interval(np.stack([noise, noise], 1), np.full((4, 2), 2 / 3))
    assert entry["mean"] == pytest.approx(noise.mean())
    assert (entry["times_chance_low"], entry["times_chance_high"]) == (
        pytest.approx(expected.low), pytest.approx(expected.high),
    )  # fmt: skip
    grouped = [dataclasses.replace(record, group="one") for record in images]
    alone = heads_summary({head: grouped}, NAMES, min_cells=1, min_images=1)
    assert alone["groups"] == {"one": 4} and alone["intervals"]["reason"].startswith("4 images of one sequence")


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match=r"head 0 of b\.0: .*has no labels"):
        head_records(layers(labels=None, label_set=None), MeasureOptions())
    negative = layers(signed=True)
    negative.layers[0].arrays["attention"][0, 0, 1] = -0.1
    with pytest.raises(ValueError, match=r"head 0 of b\.0: .*negative"):
        head_records(negative, MeasureOptions())
    with pytest.raises(ValueError, match="no image to summarise"):
        heads_summary({}, NAMES)
