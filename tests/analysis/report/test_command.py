import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.measure import data_set_summary
from analysis.report import command as report
from analysis.report.records import located
from dnl.classes import CAMVID, LabelSet
from dnl.datasets.camvid import camvid_origin
from tests.analysis.report.small import Page, make_sample, run, save_model, table

ROOT = Path(__file__).parents[3]


# --- what is written -------------------------------------------------------------------------------------------------


def test_the_summary_holds_the_figures_of_the_images(finished, records):
    summary = json.loads((finished / "summary.json").read_text())
    # Names that say no drive are taken as one.
    expected = data_set_summary(located(records, [camvid_origin("0")] * 3), CAMVID.class_names, min_images=1)
    assert summary["images"] == 3 and summary["images_skipped"] == {"3-unlabelled": "no cell has a label"}
    for stage, metrics in expected["stages"].items():
        for metric, block in metrics.items():
            found = summary["stages"][stage][metric]
            assert found["mean"] == pytest.approx(block["mean"], rel=1e-3, abs=1e-3)
            assert found["low"] is None and found["high"] is None  # three images of one drive have no interval
    assert summary["groups"].keys() == {"unknown drive"} and summary["intervals"] == expected["intervals"]
    raw = summary["stages"]["raw"]["interclass_noise"]
    assert {"mean", "low", "high", "chance"} <= raw.keys() and 0 < raw["chance"] < 1
    assert list(summary["stages"]) == ["raw", "rectified", "retained", "uniform", "oracle", "box"]
    provenance = summary["provenance"]
    assert provenance["checkpoint"]["name"] == "tiny" and len(provenance["checkpoint"]["sha256"]) == 64
    assert provenance["dataset"] == "camvid" and provenance["split"] == "val"
    assert provenance["options"]["gate"] == "model" and provenance["definitions"] == "this project's own"


# --- the same, however it came about ---------------------------------------------------------------------------------


def test_two_workers_find_what_one_finds(finished, checkpoint, camvid, tmp_path, capsys):
    assert run(checkpoint, camvid, tmp_path, "--workers", "2") == 0
    assert f"the report is {tmp_path / 'report.html'}" in capsys.readouterr().out
    for name in ("summary.json", "per_image.csv", "report.html"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.slow
def test_torchrun_finds_what_one_process_finds(finished, checkpoint, camvid, tmp_path):
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    options = ["--checkpoint", str(checkpoint), "--dataset", "camvid", "--data", str(camvid), "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*start, "analysis.report", *options], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "summary.json").read_bytes() == (finished / "summary.json").read_bytes()


# --- photos and comparisons ------------------------------------------------------------------------------------------


def test_photos_without_labels_and_two_checkpoints(checkpoint, in_this_process, unrendered, tmp_path):
    other = save_model(tmp_path / "plain.safetensors", seed=1, context="nl")
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for seed in range(2):
        Image.fromarray(make_sample(seed).image).save(photos / f"{seed}.jpg")
    options = ["--dataset", "folder", "--data", str(photos), "--out", str(out), "--workers", "1", "--no-detection"]
    assert report.main(["--checkpoint", str(checkpoint), str(other), *options]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["checkpoints"]) == {"tiny", "plain"}
    for name, block in summary["checkpoints"].items():
        assert block["label_source"] == "prediction" and "oracle" not in block["stages"]
        assert block["stages"]["raw"]["auc"]["mean"] is None
        assert (out / name / "charts" / "stages.png").is_file()
    assert summary["checkpoint_differences"]["plain - tiny"]["images"] == 2
    assert {row["checkpoint"] for row in table(out / "per_image.csv")} == {"tiny", "plain"}
    text = Page((out / "report.html").read_text()).text
    assert "own prediction, not ground truth" in text and "plain − tiny, paired over 2 images" in text
    assert (out / "charts" / "comparison.svg").is_file()


def test_several_networks_are_taken_as_one(checkpoint, camvid, in_this_process, unrendered, tmp_path):
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for seed in (1, 2):
        save_model(seeds / f"seed{seed}.safetensors", seed=seed)
    assert run(checkpoint, camvid, tmp_path / "out", "--no-detection", "--checkpoint", str(checkpoint), str(seeds)) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    block = summary["checkpoints"]["seeds"]
    assert [member["name"] for member in block["provenance"]["checkpoint"]["members"]] == ["seed1", "seed2"]
    spread = block["networks"]["raw"]["interclass_noise"]
    assert block["stages"]["raw"]["interclass_noise"]["mean"] == pytest.approx(
        np.mean(list(spread["networks"].values()))
    )
    assert spread["deviation"] > 0 and "networks" not in summary["checkpoints"]["tiny"]
    assert summary["checkpoint_differences"]["seeds - tiny"]["images"] == 3
    assert {row["checkpoint"] for row in table(tmp_path / "out" / "per_image.csv")} == {"tiny", "seed1", "seed2"}
    assert "2 networks are taken as one" in Page((tmp_path / "out" / "report.html").read_text()).text


# --- what cannot be done ---------------------------------------------------------------------------------------------


def test_bad_input_ends_with_one_sentence(checkpoint, camvid, tmp_path, capsys):
    fcn = save_model(tmp_path / "fcn.safetensors", context="fcn")
    plants = LabelSet("plants", ("leaf", "soil"), ((0, 1, 2), (3, 4, 5)), 255)
    stranger = save_model(tmp_path / "stranger.safetensors", label_set=plants, num_classes=2)
    photos, blocked = tmp_path / "photos", tmp_path / "file"
    photos.mkdir()
    Image.fromarray(make_sample(0).image).save(photos / "a.png")
    blocked.write_text("no folder")
    good = {"--checkpoint": [checkpoint], "--dataset": ["camvid"], "--data": [camvid], "--out": [tmp_path / "out"]}
    for changes, expected in [
        ({"--checkpoint": ["nowhere"]}, "there is no checkpoint 'nowhere'"),
        ({"--checkpoint": [fcn]}, "has no attention block"),
        ({"--checkpoint": [checkpoint, checkpoint]}, "given twice"),
        ({"--checkpoint": [f"{checkpoint},{stranger}"]}, "are different networks (num_classes 11 and 2)"),
        ({"--checkpoint": [f"{checkpoint},"]}, "an empty name beside a comma"),
        ({"--checkpoint": [photos]}, "holds no .safetensors file"),
        ({"--digits": ["9"]}, "--digits is 9; give 1 to 6"),
        ({"--checkpoint": [stranger]}, "knows the classes of plants, not of camvid"),
        ({"--checkpoint": [checkpoint, stranger], "--labels": ["prediction"]}, "different classes"),
        ({"--dataset": ["folder"], "--data": [photos], "--labels": ["truth"]}, "have no labels"),
        ({"--dataset": ["folder"], "--data": [tmp_path / "out-of-sight"]}, "is missing"),
        ({"--split": ["nowhere"]}, "no split 'nowhere'"),
        ({"--out": [blocked / "inside"]}, "cannot be written to"),
        ({"--lr-kernel": ["three"]}, "--lr-kernel is 'three'"),
        ({"--workers": ["0"]}, "--workers is 0"),
        ({"--limit": ["-1"]}, "--limit is -1"),
        ({"--temperature": ["0"]}, "--temperature is 0; give"),
        ({"--temperature": ["nan"]}, "--temperature is nan; give"),
        ({"--temperature": ["inf"]}, "--temperature is inf; give"),
    ]:
        arguments = [str(part) for name, values in {**good, **changes}.items() for part in (name, *values)]
        assert report.main(arguments) == 1, changes
        error = said(capsys)
        assert error.startswith("error: ") and expected in error and "\n" not in error, error


def said(capsys):
    """What stands on the standard error, but for the line on how the labels are read."""
    lines = capsys.readouterr().err.splitlines()
    return "\n".join(line for line in lines if not line.startswith("the labels are read as "))


def test_an_interrupted_report_says_what_is_kept(checkpoint, camvid, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "measure_images", interrupted)
    assert run(checkpoint, camvid, tmp_path) == 130
    error = said(capsys)
    assert "finished images are kept in" in error and "\n" not in error
