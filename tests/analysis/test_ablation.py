"""Noise figures of an ablation's runs: stages that a network has, measured and put into the table."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from analysis import ablation, capture_attention
from analysis.maps import attention_rows
from analysis.noise import image_noise, query_metrics, summarise
from dnl import ModelConfig, build_model
from dnl.checkpoints import load_checkpoint, save_checkpoint
from dnl.classes import CAMVID
from dnl.datasets import CamVid
from dnl.training.recipes import recipe

CONFIG = ModelConfig(backbone="resnet18", width=8, num_classes=11, attention_stride=8, gamma_init=0.5)


@pytest.fixture
def camvid(tmp_path):
    """Three images whose 8×8 blocks are of one class each."""
    rng, root = np.random.default_rng(0), tmp_path / "camvid"
    for folder in ("val", "valannot"):
        (root / folder).mkdir(parents=True)
    for index in range(3):
        labels = np.kron(rng.choice([0, 1, 3, 5, 11], (5, 6)).astype(np.uint8), np.ones((8, 8), np.uint8))
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(root / "val" / f"{index}.png")
        Image.fromarray(labels).save(root / "valannot" / f"{index}.png")
    return root


@pytest.fixture
def runs(tmp_path):
    """What dnl.ablation leaves of three finished runs, and one that has no scores yet."""
    out = tmp_path / "runs"
    for variant, seed, config, scored in (
        ("fcn", 0, dataclasses.replace(CONFIG, context="fcn"), True),
        ("nl", 0, dataclasses.replace(CONFIG, context="nl"), True),
        ("dnl-binary", 0, dataclasses.replace(CONFIG, gate="binary"), True),
        ("dnl-binary", 1, dataclasses.replace(CONFIG, gate="binary"), False),
    ):
        folder = out / variant / f"seed-{seed}"
        folder.mkdir(parents=True)
        torch.manual_seed(seed)
        model = build_model(config)
        model.label_set = CAMVID
        save_checkpoint(folder / "model.safetensors", model, {"recipe": {"dataset": "camvid"}})
        if scored:
            (folder / "ablation.json").write_text(json.dumps({"miou": 0.5, "images_per_second": 3.0}))
    plan = {"recipe": "camvid_dnl", "minutes": None, "config": dataclasses.asdict(recipe("camvid_dnl"))}
    (out / "plan.json").write_text(json.dumps(plan))
    return out


@pytest.mark.parametrize(
    ("context", "stages"),
    [
        ("fcn", ()),
        ("nl", ("raw",)),
        ("nl+gr", ("raw", "rectified")),
        ("nl+lr", ("raw", "retained")),
        ("dnl", ("raw", "rectified", "retained")),
    ],
)
def test_a_network_is_measured_in_the_stages_it_has(context, stages):
    assert ablation.stages_of(dataclasses.replace(CONFIG, context=context)) == stages


def test_figures_are_those_of_the_rows_of_every_query(runs, camvid):
    folder, stages = runs / "dnl-binary" / "seed-0", ("raw", "rectified", "retained")
    model, _ = load_checkpoint(folder / "model.safetensors")
    images = []
    for sample in CamVid(camvid, "val"):
        capture = capture_attention(model, sample.image, labels=sample.labels)
        rows = attention_rows(capture)
        every = np.arange(capture.height * capture.width)
        metrics = {
            stage: query_metrics(getattr(rows, stage), capture.cell_labels, every, ignore_index=11) for stage in stages
        }
        images.append(image_noise(metrics, capture.cell_labels, 11))
    summary = summarise(images, min_images=3)
    figures = ablation.measure_run(folder, str(camvid), "val", None)
    chance = summary["raw"]["chance"].mean
    assert figures["raw_noise"] == pytest.approx(summary["raw"]["interclass_noise"].mean / chance)
    assert figures["final_noise"] == pytest.approx(summary["retained"]["interclass_noise"].mean / chance)
    for stage in stages:
        assert figures[f"{stage}_intraclass"] == pytest.approx(summary[stage]["intraclass_noise"].mean)
        assert figures[f"{stage}_hollow"] == pytest.approx(summary[stage]["hollow_fraction"].mean)
    assert figures["noise_images"] == 3
    assert ablation.measure_run(folder, str(camvid), "val", 2)["noise_images"] == 2


@pytest.mark.slow
def test_the_command_measures_finished_runs_once_and_tabulates(runs, camvid, capsys):
    arguments = ["--runs", str(runs), "--data", str(camvid)]
    assert ablation.main(arguments) == 0
    table = capsys.readouterr().out
    assert "raw noise × chance" in table
    rows = {row["variant"]: row for row in json.loads((runs / "table.json").read_text())["rows"]}
    assert rows["fcn"]["raw_noise"] is None
    assert rows["nl"]["raw_noise"] == rows["nl"]["final_noise"] and rows["nl"]["rectified_hollow"] is None
    assert rows["dnl-binary"]["seeds"] == [0]
    measured = json.loads((runs / "dnl-binary" / "seed-0" / "noise.json").read_text())
    for key in ("raw_noise", "final_noise", "raw_intraclass", "retained_intraclass", "rectified_hollow"):
        assert rows["dnl-binary"][key]["values"] == [measured[key]]
    assert not (runs / "dnl-binary" / "seed-1" / "noise.json").exists()
    (runs / "nl" / "seed-0" / "noise.json").write_text(json.dumps({"raw_noise": 0.25}))
    assert ablation.main(arguments) == 0
    assert "| 0.25 |" in capsys.readouterr().out  # not measured again


def test_two_networks_are_compared_seed_by_seed():
    def run(seed, miou, drive, **noise):
        return {"seed": seed, "miou": miou, "miou_A": drive, "groups": {"A": drive}, **noise}

    plain = [run(0, 0.5, 0.25, raw_noise=0.5), run(1, 0.4, 0.25, raw_noise=0.5), run(3, 0.75, 0.5, raw_noise=0.5)]
    denoised = [run(3, 0.75, 0.75, raw_noise=0.25), run(0, 0.625, 0.25, raw_noise=0.25), run(2, 0.9, 0.9)]
    found = ablation.seed_differences({"nl": plain, "dnl-sigmoid": denoised, "fcn": plain})
    assert list(found) == ["miou", "raw_noise", "miou_A"]  # no final noise is known
    assert [interval.mean for interval in found.values()] == [0.0625, -0.25, 0.125]  # of seeds 0 and 3
    assert all(interval.low is None for interval in found.values())
    assert "- miou: +0.062 (no interval below 3 seeds)" in ablation.differences_in_words(found)
    three = [run(seed, 0.5 + 0.25 * seed, 0.25) for seed in range(3)]
    found = ablation.seed_differences({"nl": [run(seed, 0.5, 0.25) for seed in range(3)], "dnl-sigmoid": three})
    reach = 4.302653 * 0.25 / 3**0.5  # Student's t of two degrees of freedom, standard deviation 1/4
    assert found["miou"] == pytest.approx((0.25, 0.25 - reach, 0.25 + reach, 3), rel=1e-5)
    words = ablation.differences_in_words(found)
    assert words.startswith("dnl-sigmoid minus nl, mean and 95 % interval over 3 seeds")
    assert "- miou: +0.250 (-0.371 … +0.871)" in words


def test_a_figure_that_a_run_lacks_is_not_compared():
    plain = [{"seed": seed, "miou": 0.5, "raw_noise": None if seed else 0.5} for seed in range(2)]
    denoised = [{"seed": seed, "miou": 0.75, "raw_noise": 0.25, "final_noise": 0.5} for seed in range(2)]
    assert list(ablation.seed_differences({"nl": plain, "dnl-sigmoid": denoised})) == ["miou"]


def test_without_common_seeds_nothing_is_compared():
    assert ablation.seed_differences({"nl": [{"seed": 0, "miou": 1.0}]}) == {}
    assert (
        ablation.seed_differences({"nl": [{"seed": 0, "miou": 1.0}], "dnl-sigmoid": [{"seed": 1, "miou": 1.0}]}) == {}
    )
    assert ablation.differences_in_words({}) == ""


@pytest.mark.slow
def test_another_split_has_files_of_its_own(runs, camvid, capsys):
    for folder in ("", "annot"):
        (camvid / f"val{folder}").rename(camvid / f"test{folder}")
    arguments = ["--runs", str(runs), "--data", str(camvid), "--split", "test"]
    assert ablation.main(arguments) == 1
    assert "no finished run with scores on test" in capsys.readouterr().err
    (runs / "nl" / "seed-0" / "ablation-test.json").write_text(json.dumps({"miou": 0.25}))
    assert ablation.main(arguments) == 0
    assert "| network | seeds | test mIoU |" in capsys.readouterr().out
    assert json.loads((runs / "nl" / "seed-0" / "noise-test.json").read_text())["noise_images"] == 3
    assert not (runs / "table.json").exists() and not (runs / "dnl-binary" / "seed-0" / "noise-test.json").exists()


def test_bad_arguments_end_with_one_sentence(tmp_path, runs, capsys):
    for arguments, expected in (
        (["--runs", str(tmp_path / "none")], "holds no finished run"),
        (["--runs", str(runs), "--images", "0"], "--images is 0"),
    ):
        assert ablation.main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and expected in error and error.count("\n") == 1
