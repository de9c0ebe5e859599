import csv
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.capture import capture_attention
from analysis.measure import MeasureOptions, data_set_summary, measure_capture
from analysis.report import command as report
from analysis.report.measuring import ReportError, measure_sample
from analysis.report.output import Checkpoint, write_report
from analysis.report.records import SkippedImage, read_record, write_record
from analysis.report.tables import write_class_table, write_image_table
from dnl import ModelConfig, __version__, build_model, load_checkpoint
from dnl.checkpoints import save_checkpoint
from dnl.classes import CAMVID, LabelSet
from dnl.datasets import CamVid, Sample

ROOT = Path(__file__).parents[3]
SIZE = (40, 72)
IMAGES = ("0", "1", "2", "3-unlabelled")


def save_model(path, seed=0, label_set=CAMVID, **changes):
    config = {"backbone": "resnet18", "width": 8, "num_classes": 11, "attention_stride": 8, "gamma_init": 0.5}
    torch.manual_seed(seed)
    model = build_model(ModelConfig(**{**config, **changes})).eval()
    model.label_set = label_set
    save_checkpoint(path, model, {"name": path.stem})
    return path


def make_sample(seed, classes=(0, 1, 3, 5, 11)):
    rng = np.random.default_rng(seed)
    coarse = rng.choice(classes, (5, 9)).astype(np.uint8)
    return Sample(rng.integers(0, 256, (*SIZE, 3), np.uint8), np.kron(coarse, np.ones((8, 8), np.uint8)), str(seed))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny.safetensors")


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    """Three labelled images and one all of whose pixels are ignored."""
    root = tmp_path_factory.mktemp("camvid")
    for folder in ("val", "valannot"):
        (root / folder).mkdir()
    samples = [make_sample(seed) for seed in range(3)] + [make_sample(3, classes=(11,))]
    for name, sample in zip(IMAGES, samples, strict=True):
        Image.fromarray(sample.image).save(root / "val" / f"{name}.png")
        Image.fromarray(sample.labels).save(root / "valannot" / f"{name}.png")
    return root


def run(checkpoint, camvid, out, *more):
    options = ["--dataset", "camvid", "--data", str(camvid), "--out", str(out), "--workers", "1", *more]
    return report.main(["--checkpoint", str(checkpoint), *options])


@pytest.fixture(scope="module")
def finished(checkpoint, camvid, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    assert run(checkpoint, camvid, out) == 0
    return out


@pytest.fixture(scope="module")
def records(checkpoint):
    model, _ = load_checkpoint(checkpoint)
    return [measure_sample(model, make_sample(seed), MeasureOptions()) for seed in range(3)]


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- what is written -------------------------------------------------------------------------------------------------


def test_the_summary_holds_the_figures_of_the_images(finished, records):
    summary = json.loads((finished / "summary.json").read_text())
    expected = data_set_summary(records, CAMVID.class_names, min_images=1)
    assert summary["images"] == 3 and summary["images_skipped"] == {"3-unlabelled": "no cell has a label"}
    for stage, metrics in expected["stages"].items():
        for metric, block in metrics.items():
            for key in ("mean", "low", "high"):
                assert summary["stages"][stage][metric][key] == pytest.approx(block[key], rel=1e-3, abs=1e-3)
    raw = summary["stages"]["raw"]["interclass_noise"]
    assert {"mean", "low", "high", "chance"} <= raw.keys() and 0 < raw["chance"] < 1
    assert list(summary["stages"]) == ["raw", "rectified", "retained", "uniform", "oracle", "box"]
    provenance = summary["provenance"]
    assert provenance["checkpoint"]["name"] == "tiny" and len(provenance["checkpoint"]["sha256"]) == 64
    assert provenance["dataset"] == "camvid" and provenance["split"] == "val"
    assert provenance["options"]["gate"] == "model" and provenance["definitions"] == "this project's own"


def test_the_table_of_images_can_be_read_back(finished, checkpoint, camvid):
    rows = table(finished / "per_image.csv")
    assert [(row["image"], row["stage"]) for row in rows[:2]] == [("0", "raw"), ("0", "rectified")]
    assert len(rows) == 3 * 6 + 1 and rows[-1]["skipped"] == "no cell has a label" and rows[-1]["stage"] == ""
    model, _ = load_checkpoint(checkpoint)
    sample = CamVid(camvid, "val")[1]
    measured = measure_capture(capture_attention(model, sample.image, labels=sample.labels))
    metrics = measured.stages["retained"]
    means = [
        np.nanmean(metrics.intraclass_noise[metrics.labels == label])
        for label in (0, 1, 3, 5)
        if (metrics.labels == label).sum() >= 5
    ]
    row = next(row for row in rows if row["image"] == "1" and row["stage"] == "retained")
    assert float(row["intraclass_noise"]) == pytest.approx(np.mean(means), rel=1e-3)
    assert int(row["queries"]) == (metrics.labels != 11).sum() and row["label_source"] == "ground truth"
    by_class = table(finished / "per_class.csv")
    row = next(r for r in by_class if (r["image"], r["stage"], r["class"]) == ("1", "retained", "Road"))
    assert int(row["cells"]) == (metrics.labels == 3).sum()
    made_of = ("measured_against", "gate", "lr_kernel", "lr_weights", "temperature", "image_sha256", "version")
    pixels = hashlib.sha256(sample.image.tobytes()).hexdigest()
    assert [row[name] for name in made_of] == ["ground truth", "sigmoid", "3", "learnt", "1.0", pixels, __version__]
    assert row["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert float(row["top_mass"]) == pytest.approx(np.nanmean(metrics.top_mass[metrics.labels == 3]), rel=1e-3)


def test_leakage_tables_carry_class_names(finished):
    summary = json.loads((finished / "summary.json").read_text())
    for stage, matrix in summary["leakage"].items():
        rows = table(finished / f"leakage_{stage}.csv")
        assert [row["query class"] for row in rows] == list(CAMVID.class_names)
        assert [float(rows[3][name]) for name in CAMVID.class_names] == matrix[3]
        assert matrix[2] is None and set(rows[2].values()) == {"Pole", ""}


def test_charts_and_noise_maps_are_pictures(finished):
    charts = {path.name for path in (finished / "charts").iterdir()}
    stems = {name.rpartition(".")[0] for name in charts}
    assert {"stages", "differences", "hollow_curve", "leakage_raw", "classes_interclass_noise", "classes_auc"} <= stems
    assert charts == {f"{stem}.{end}" for stem in stems for end in ("png", "svg")}
    maps = sorted((finished / "noise_maps").iterdir())
    assert [path.suffix for path in maps] == [".png", ".svg"] * 3
    for path in (finished / "charts" / "stages.png", maps[0]):
        with Image.open(path) as picture:
            assert np.array(picture.convert("L")).std() > 5


class Page(HTMLParser):
    """What a page would fetch, its element names and its text."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.elements, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and tag != "a":
                self.fetched.append(value)

    def handle_data(self, data):
        self.text += data


def test_the_page_needs_nothing_from_outside(finished):
    text = (finished / "report.html").read_text()
    page = Page(text)
    assert page.fetched and all(address.startswith(("data:", "#")) for address in page.fetched)
    assert not {"script", "link", "iframe"} & set(page.elements) and "@import" not in text
    assert not re.findall(r"url\((?!#)", text)
    assert "this project's own definitions" in page.text and "ground truth" in page.text
    summary = json.loads((finished / "summary.json").read_text())
    assert f"{summary['stages']['raw']['interclass_noise']['mean']:.3f}" in page.text
    assert "3-unlabelled was skipped: no cell has a label." in page.text
    assert "prefers-color-scheme: dark" in text and "@media print" in text


def test_names_are_escaped(tmp_path, records):
    evil = "<script>alert('$x$')</script>"
    names = (evil, *CAMVID.class_names[1:])
    label_set = LabelSet("evil", names, CAMVID.palette, 11)
    named = [dataclasses.replace(record, name=f"{evil}&{n}") for n, record in enumerate(records)]
    about = {"dataset": evil, "split": None, "limit": None, "options": {}, "version": "0", "definitions": "own"}
    checkpoint = Checkpoint("a-name", Path("a-name"), "0" * 64, label_set, {})
    summary = write_report(tmp_path, [checkpoint], {"a-name": named}, [make_sample(n) for n in range(3)], about)
    page = Page((tmp_path / "report.html").read_text())
    assert "script" not in page.elements and evil in page.text
    assert evil in summary["stages"]["raw"]["kept_mass"]["per_class"]
    assert all(path.parent == tmp_path / "noise_maps" for path in (tmp_path / "noise_maps").iterdir())
    assert evil in {row["class"] for row in table(tmp_path / "per_class.csv")}


# --- the same, however it came about ---------------------------------------------------------------------------------


def test_two_workers_find_what_one_finds(finished, checkpoint, camvid, tmp_path):
    assert run(checkpoint, camvid, tmp_path, "--workers", "2") == 0
    for name in ("summary.json", "per_image.csv", "report.html"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_a_resumed_report_measures_only_what_is_missing(finished, checkpoint, camvid, tmp_path):
    out = tmp_path / "report"
    shutil.copytree(finished, out)
    (out / "summary.json").unlink()
    files = sorted((out / "records").glob("*/*.npz"))
    assert len(files) == 4
    kept = [path.stat().st_mtime_ns for path in files]
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-100])  # half-written
    shutil.copyfile(files[3], files[2])  # of another image
    assert run(checkpoint, camvid, out) == 0
    assert (out / "summary.json").read_bytes() == (finished / "summary.json").read_bytes()
    assert files[3].stat().st_mtime_ns == kept[3]
    assert all(path.stat().st_mtime_ns > old for path, old in zip(files[:3], kept[:3], strict=True))


def test_records_come_back_from_their_files(tmp_path, records):
    path, stamp = tmp_path / "a.npz", {"options": ("a", 1)}
    write_record(path, records[0], stamp)
    back = read_record(path, stamp)
    assert back.name == records[0].name and back.stages == records[0].stages
    for field, value in vars(records[0]).items():
        if isinstance(value, np.ndarray):
            assert (getattr(back, field) == value).all() and getattr(back, field).dtype == value.dtype
    np.testing.assert_array_equal(back.noise_maps["raw"], records[0].noise_maps["raw"])
    assert back.query_dependence == records[0].query_dependence
    assert read_record(path, {"options": ("b", 1)}) is None
    assert read_record(tmp_path / "none.npz") is None
    path.write_bytes(b"something else")
    assert read_record(path) is None
    write_record(path, SkippedImage("x", "why"), stamp)
    assert read_record(path, stamp) == SkippedImage("x", "why")


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


def test_photos_without_labels_and_two_checkpoints(checkpoint, tmp_path):
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


def photo_report(checkpoint, photos, out):
    options = ["--dataset", "folder", "--data", str(photos), "--out", str(out), "--workers", "1", "--no-detection"]
    return report.main(["--checkpoint", str(checkpoint), *options])


def test_photos_of_no_use_are_skipped_with_their_reason(checkpoint, tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    Image.fromarray(make_sample(0).image[:20, :20]).save(photos / "a-small.png")
    (photos / "b-torn.jpg").write_bytes(b"no photo")
    (photos / "c-folder.webp").mkdir()
    assert photo_report(checkpoint, photos, out) == 1
    error = capsys.readouterr().err
    assert "none of the 3 images can be measured, a-small.png the first (the photo is 20 pixels wide" in error
    Image.fromarray(make_sample(0).image).save(photos / "d-good.png")
    assert photo_report(checkpoint, photos, out) == 0
    summary = json.loads((out / "summary.json").read_text())
    skipped = summary["images_skipped"]
    assert summary["images"] == 1 and list(skipped) == ["a-small.png", "b-torn.jpg", "c-folder.webp"]
    assert "each side needs at least 32" in skipped["a-small.png"] and "cannot be read" in skipped["c-folder.webp"]
    rows = table(out / "per_image.csv")
    assert [row["skipped"] for row in rows if row["skipped"]] == list(skipped.values())
    assert "b-torn.jpg was skipped: the photo is not a readable" in Page((out / "report.html").read_text()).text
    Image.fromarray(make_sample(1).image).save(photos / "a-small.png")  # mended, and measured in the next run
    assert photo_report(checkpoint, photos, out) == 0
    assert json.loads((out / "summary.json").read_text())["images"] == 2


def test_a_photo_whose_name_is_no_text_is_refused_before_any_is_measured(checkpoint, tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in (b"a.png", b"\xe9.png"):
        Image.fromarray(make_sample(0).image).save(photos / os.fsdecode(name))
    assert photo_report(checkpoint, photos, out) == 1
    assert "holds bytes that are no text; rename" in capsys.readouterr().err
    assert not out.exists()


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
        error = capsys.readouterr().err
        assert error.startswith("error: ") and expected in error and error.count("\n") == 1, error


def test_an_unknown_class_value_is_named(checkpoint, tmp_path, capsys):
    for folder in ("val", "valannot"):
        (tmp_path / folder).mkdir()
    sample = make_sample(0)
    Image.fromarray(sample.image).save(tmp_path / "val" / "a.png")
    Image.fromarray(np.full(SIZE, 77, np.uint8)).save(tmp_path / "valannot" / "a.png")
    assert run(checkpoint, tmp_path, tmp_path / "out") == 1
    assert "holds the value 77" in capsys.readouterr().err


def test_an_image_too_small_is_named(checkpoint, camvid, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(camvid, data)
    for folder in ("val", "valannot"):
        with Image.open(data / folder / "1.png") as picture:
            picture.crop((0, 0, 20, 20)).save(data / folder / "1.png")
    assert run(checkpoint, data, tmp_path / "out") == 1
    assert "1: the image is 20×20 pixels; each side needs at least 32" in capsys.readouterr().err


def test_images_of_one_class_or_none_are_no_report(checkpoint, tmp_path):
    model, _ = load_checkpoint(checkpoint)
    about = {"dataset": "camvid", "split": "val", "limit": None, "options": {}, "version": "0"}
    of_report = [Checkpoint("tiny", checkpoint, "0" * 64, CAMVID, {})]
    for classes, expected in (((3,), "one class only"), ((11,), "no cell has a label")):
        sample = make_sample(0, classes)
        records = {"tiny": [measure_sample(model, sample, MeasureOptions())]}
        with pytest.raises(ReportError, match=expected):
            write_report(tmp_path, of_report, records, [sample], about)


def test_an_interrupted_report_says_what_is_kept(checkpoint, camvid, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "measure_images", interrupted)
    assert run(checkpoint, camvid, tmp_path) == 130
    error = capsys.readouterr().err
    assert "finished images are kept in" in error and error.count("\n") == 1


def test_a_second_report_in_the_folder_takes_the_place_of_the_first(checkpoint, camvid, tmp_path):
    own = tmp_path / "my notes.txt"
    own.write_text("not the report's")
    assert run(checkpoint, camvid, tmp_path) == 0
    first = files_of(tmp_path)
    assert "leakage_oracle.csv" in first and "charts/classes_auc.svg" in first
    assert run(checkpoint, camvid, tmp_path, "--limit", "1", "--lr-kernel", "none", "--no-detection") == 0
    alone = tmp_path / "alone"
    assert run(checkpoint, camvid, alone, "--limit", "1", "--lr-kernel", "none", "--no-detection") == 0
    assert files_of(tmp_path) - {own.name} == files_of(alone)
    assert own.read_text() == "not the report's"


def files_of(folder: Path) -> set[str]:
    """The files of the report in a folder, hidden ones among them, its records and folders in it apart."""
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {file.as_posix() for file in files if file.parts[0] not in ("records", "alone")}


def test_a_report_that_fails_leaves_the_one_before(checkpoint, camvid, tmp_path, monkeypatch):
    assert run(checkpoint, camvid, tmp_path) == 0
    before = {name: (tmp_path / name).read_bytes() for name in files_of(tmp_path)}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("analysis.report.output.report_page", full)
    assert run(checkpoint, camvid, tmp_path, "--limit", "1") == 1
    assert {name: (tmp_path / name).read_bytes() for name in files_of(tmp_path)} == before


def test_a_file_list_names_nothing_outside_of_its_folder(checkpoint, camvid, tmp_path):
    out, bystander = tmp_path / "out", tmp_path / "bystander.txt"
    bystander.write_text("stays")
    assert run(checkpoint, camvid, out) == 0
    (out / "records" / "files.json").write_text(json.dumps(["../bystander.txt", str(bystander), 3]))
    assert run(checkpoint, camvid, out, "--limit", "1") == 0
    assert bystander.read_text() == "stays"


def test_no_table_holds_a_spreadsheet_formula(tmp_path, records):
    named = [dataclasses.replace(record, name=f"={record.name}") for record in records if hasattr(record, "cells")]
    write_image_table(tmp_path / "images.csv", {"-model": named})
    write_class_table(
        tmp_path / "classes.csv", {"-model": named}, [f"@{name}" for name in CAMVID.class_names], {"-model": "0" * 64}
    )
    for name in ("images.csv", "classes.csv"):
        _, *rows = csv.reader((tmp_path / name).open(encoding="utf-8"))
        assert all(row[0] == "'-model" and row[1].startswith("'=") for row in rows)
        assert not any(value.startswith(("=", "@", "+")) for row in rows for value in row)
