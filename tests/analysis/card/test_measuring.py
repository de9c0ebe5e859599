import dataclasses
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from analysis import capture_attention, noise
from analysis.card import measuring as card
from analysis.maps import attention_rows
from analysis.options import GATES
from dnl import ModelConfig, build_model, load_checkpoint
from dnl.checkpoints import read_card, save_checkpoint
from dnl.classes import CAMVID
from dnl.datasets import Sample
from dnl.evaluate import altered_attention
from dnl.training.engine import evaluate

CONFIG = ModelConfig(backbone="resnet18", width=8, num_classes=11, attention_stride=8, gamma_init=0.5)
SIZE = (40, 72)


def make_model(config=CONFIG):
    torch.manual_seed(0)
    model = build_model(config).eval()
    model.label_set = CAMVID
    return model


def make_samples(count=3):
    rng = np.random.default_rng(0)
    samples = []
    for index in range(count):
        coarse = rng.choice([0, 1, 3, 5, 11], (5, 9)).astype(np.uint8)
        labels = np.kron(coarse, np.ones((8, 8), np.uint8))
        samples.append(Sample(rng.integers(0, 256, (*SIZE, 3), np.uint8), labels, f"scene-{index}"))
    return samples


class Dataset(list):
    label_set = CAMVID


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def captures(model):
    return [capture_attention(model, sample.image, labels=sample.labels) for sample in make_samples()]


@pytest.fixture
def camvid(tmp_path):
    for folder in ("val", "valannot"):
        (tmp_path / "camvid" / folder).mkdir(parents=True)
    for sample in make_samples():
        Image.fromarray(sample.image).save(tmp_path / "camvid" / "val" / f"{sample.name}.png")
        Image.fromarray(sample.labels).save(tmp_path / "camvid" / "valannot" / f"{sample.name}.png")
    return tmp_path / "camvid"


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
    assert metrics["query_dependence"] == pytest.approx(np.mean([image.query_dependence for image in images]))
    assert metrics["effective_keys"] == pytest.approx(np.median(np.concatenate([i.effective_keys for i in images])))
    assert set(metrics["gates"]) == set(GATES)
    for entry in metrics["gates"].values():
        assert set(entry) == {"raw", "rectified", "retained", "box", "emptied"}
    assert metrics["gates"]["oracle"]["rectified"]["interclass_noise"]["mean"] == 0
    json.dumps(metrics, allow_nan=False)
    text = card.table({**metrics, "gamma": 0.5})
    assert "oracle, retained" in text and "Pole (0 images)" in text and "nan" not in text


def test_too_few_images_are_said_in_words(captures):
    metrics = card.attention_metrics([card.measure_image(captures[0])], CAMVID.class_names)
    assert metrics["attention"]["raw"]["interclass_noise"]["mean"] is None
    assert metrics["attention"]["raw"]["interclass_noise"]["micro"] > 0
    assert "no class in enough images" in card.table({**metrics, "gamma": 0.5})


def test_what_the_attention_is_worth():
    model, dataset = make_model(), Dataset(make_samples())
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    worth = card.measure_worth(model, dataset)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert model.context.attention_source == "learnt"
    other = make_model(dataclasses.replace(CONFIG, gamma_init=0.0))
    assert worth["miou_gamma_0"] == evaluate(other, dataset).miou
    for source in ("uniform", "mean"):
        model.context.attention_source = source
        assert worth[f"miou_{source}"] == evaluate(model, dataset).miou


def test_the_attention_comes_back_after_an_error(model):
    with pytest.raises(RuntimeError), altered_attention(model, gamma=0.0, source="mean"):
        assert model.context.gamma.item() == 0 and model.context.attention_source == "mean"
        raise RuntimeError
    assert model.context.gamma.item() == 0.5 and model.context.attention_source == "learnt"


@pytest.mark.slow
def test_the_command_writes_the_card_and_leaves_the_weights(tmp_path, camvid, capsys):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, make_model(), {"name": "tiny", "metrics": {"note": "kept"}})
    weights = safetensors.torch.load_file(path)
    assert card.main(["--checkpoint", str(path), "--data", str(camvid), "--streets", "1"]) == 0
    after = safetensors.torch.load_file(path)
    assert weights.keys() == after.keys()
    assert all(w.dtype == after[k].dtype and torch.equal(w, after[k]) for k, w in weights.items())
    written = read_card(path)
    assert written["name"] == "tiny" and written["metrics"]["note"] == "kept"
    metrics = written["metrics"]
    model, _ = load_checkpoint(path)
    images = [card.measure_image(capture_attention(model, s.image, labels=s.labels)) for s in make_samples()]
    expected = card.attention_metrics(images, CAMVID.class_names)
    assert metrics["attention"]["raw"]["interclass_noise"]["micro"] == pytest.approx(
        expected["attention"]["raw"]["interclass_noise"]["micro"], abs=1e-5
    )
    assert metrics["camvid_val"]["images"] == 3 and set(metrics["camvid_val"]) >= set(card.ABLATIONS)
    assert metrics["gamma"] == 0.5 and metrics["streets_val"]["images"] == 1
    assert "similarity, box" in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_without_attention_gets_its_scores_alone(tmp_path, camvid):
    path = tmp_path / "fcn.safetensors"
    save_checkpoint(path, make_model(dataclasses.replace(CONFIG, context="fcn")), {"name": "fcn"})
    assert card.main(["--checkpoint", str(path), "--data", str(camvid), "--streets", "0"]) == 0
    metrics = read_card(path)["metrics"]
    assert set(metrics) == {"camvid_val"} and "miou_uniform" not in metrics["camvid_val"]


def test_bad_arguments_end_with_one_sentence(tmp_path, capsys):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, make_model(), {"name": "tiny"})
    before = path.read_bytes()
    for arguments, expected in [
        (["--checkpoint", str(tmp_path / "none"), "--data", "x"], "there is no checkpoint"),
        (["--checkpoint", str(path), "--data", str(tmp_path)], "is missing"),
        (["--checkpoint", str(path), "--data", str(tmp_path), "--workers", "0"], "--workers is 0"),
    ]:
        assert card.main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and expected in error and error.count("\n") == 1
    assert path.read_bytes() == before


def test_scores_carry_their_number_of_images(model):
    samples = make_samples(2)
    scores = card.measure_scores(model, Dataset(samples))
    assert scores["images"] == 2 and 0 <= scores["miou"] <= 1 and set(scores["iou"]) <= set(CAMVID.class_names)
