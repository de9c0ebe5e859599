import dataclasses
import json

import numpy as np
import pytest
import torch

from analysis import capture_attention, noise
from analysis.card import command
from analysis.card import measuring as card
from analysis.intervals import mean_interval
from analysis.maps import attention_rows
from analysis.options import GATES
from dnl.classes import CAMVID
from dnl.datasets import Origin
from dnl.evaluate import measure_scores, measure_worth
from dnl.training import evaluate
from tests.analysis.card.small import CONFIG, Dataset, make_model, make_samples


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def captures(model):
    return [capture_attention(model, sample.image, labels=sample.labels) for sample in make_samples()]


def test_an_image_is_measured_as_its_maps_say(captures):
    capture = captures[0]
    measured = card.measure_image(capture)
    every = np.arange(45)

    def metrics(rows):
        return noise.query_metrics(rows, capture.cell_labels, every, ignore_index=11)

    for gate in GATES:
        learnt, box = attention_rows(capture, gate=gate), attention_rows(capture, gate=gate, lr_weights="box")
        stages = {
            "raw": metrics(learnt.raw),
            "rectified": metrics(learnt.rectified),
            "retained": metrics(learnt.retained),
            "box": metrics(box.retained),
        }
        expected = noise.image_noise(stages, capture.cell_labels, 11)
        assert measured.gates[gate].emptied == expected.emptied
        assert measured.gates[gate].left_out == expected.left_out
        for stage in stages:
            for metric in noise.METRICS:
                actual, wanted = measured.gates[gate].sums[stage][metric], expected.sums[stage][metric]
                assert (actual.count == wanted.count).all()
                np.testing.assert_allclose(actual.total, wanted.total, rtol=1e-9, atol=1e-12)
    raw = attention_rows(capture).raw
    assert measured.distinct_argmax_keys == noise.distinct_argmax_keys(raw)
    pairs = noise.query_pairs(45)
    assert measured.query_dependence == pytest.approx(noise.query_dependence(raw[pairs[:, 0]], raw[pairs[:, 1]]))
    assert np.isfinite(measured.effective_keys).all()


def test_under_the_oracle_no_attention_on_other_classes_is_left(captures):
    sums = card.measure_image(captures[0], ["oracle"]).gates["oracle"].sums["rectified"]["interclass_noise"]
    assert sums.total.sum() == 0 and sums.count.sum() > 0


def test_an_image_without_labels_is_refused(captures):
    with pytest.raises(ValueError, match="has no labels"):
        card.measure_image(dataclasses.replace(captures[0], labels=None))


def test_figures_of_the_card(captures):
    images = [card.measure_image(capture) for capture in captures]
    metrics = card.attention_metrics(images, CAMVID.class_names, min_cells=2, min_images=3)
    summary = noise.summarise([image.raw for image in images], min_cells=2, min_images=3)["raw"]
    raw = metrics["attention"]["raw"]
    assert raw["interclass_noise"]["mean"] == summary["interclass_noise"].mean
    assert raw["interclass_noise"]["chance"] == summary["chance"].mean
    assert raw["hollow_fraction"]["mean"] == summary["hollow_fraction"].mean
    assert metrics["attention"]["classes_left_out"]["Pole"] == 0
    table = noise.class_table([image.raw for image in images], "raw", "hollow_fraction", min_cells=2)
    expected = mean_interval(table[:, np.isfinite(table).sum(axis=0) >= 3])
    assert (raw["hollow_fraction"]["low"], raw["hollow_fraction"]["high"]) == pytest.approx(
        (max(expected.low, 0), min(expected.high, 1))
    )
    assert metrics["attention"]["intervals"]["method"] == "Student's t over 3 images, skewness corrected"
    one_drive = [Origin("0016E5", frame) for frame in (3, 1, 2)]
    metrics = card.attention_metrics(images, CAMVID.class_names, origins=one_drive, min_cells=2, min_images=3)
    assert metrics["attention"]["raw"]["hollow_fraction"]["low"] is None
    assert metrics["attention"]["intervals"]["reason"].startswith("3 images of one sequence")
    assert metrics["query_dependence"] == pytest.approx(np.mean([image.query_dependence for image in images]))
    assert metrics["effective_keys"] == pytest.approx(np.median(np.concatenate([i.effective_keys for i in images])))
    assert set(metrics["gates"]) == set(GATES)
    for entry in metrics["gates"].values():
        assert set(entry) == {"raw", "rectified", "retained", "box", "emptied"}
    assert metrics["gates"]["oracle"]["rectified"]["interclass_noise"]["mean"] == 0
    json.dumps(metrics, allow_nan=False)
    text = command.table({**metrics, "gamma": 0.5})
    assert "oracle, retained" in text and "Pole (0 images)" in text and "nan" not in text


def test_too_few_images_are_said_in_words(captures):
    metrics = card.attention_metrics([card.measure_image(captures[0])], CAMVID.class_names)
    assert metrics["attention"]["raw"]["interclass_noise"]["mean"] is None
    assert metrics["attention"]["raw"]["interclass_noise"]["micro"] > 0
    assert "no class in enough images" in command.table({**metrics, "gamma": 0.5})


def test_what_the_attention_is_worth():
    model, dataset = make_model(), Dataset(make_samples())
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    worth = measure_worth(model, dataset)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert model.context.attention_source == "learnt"
    other = make_model(dataclasses.replace(CONFIG, gamma_init=0.0))
    assert worth["miou_gamma_0"] == evaluate(other, dataset).miou
    for source in ("uniform", "mean"):
        model.context.attention_source = source
        assert worth[f"miou_{source}"] == evaluate(model, dataset).miou


def test_scores_carry_their_number_of_images(model):
    samples = make_samples(2)
    scores = measure_scores(model, Dataset(samples))
    assert scores["images"] == 2 and 0 <= scores["miou"] <= 1 and set(scores["iou"]) <= set(CAMVID.class_names)
    assert scores["groups"] == {
        group: evaluate(model, Dataset([sample])).miou for group, sample in zip("ab", samples, strict=True)
    }
    assert "groups" not in measure_scores(model, Dataset(samples[:1]))
