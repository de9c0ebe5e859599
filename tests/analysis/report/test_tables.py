import csv
import dataclasses
import hashlib
import json

import numpy as np
import pytest

from analysis.capture import capture_attention
from analysis.measure import data_set_summary, measure_capture
from analysis.report.records import SkippedImage, located
from analysis.report.tables import write_class_table, write_group_table, write_image_table
from dnl import __version__, load_checkpoint
from dnl.classes import CAMVID
from dnl.datasets import CamVid, Origin
from tests.analysis.report.small import table


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


def test_groups_and_places_are_in_the_tables(tmp_path, records):
    placed = located(records, [Origin("b", 7), Origin("a", 3), Origin("b", 5)])
    write_image_table(tmp_path / "images.csv", {"tiny": [*placed, SkippedImage("x", "why", "c", 9)]})
    rows = [(row["image"], row["group"], row["place"]) for row in table(tmp_path / "images.csv")]
    assert list(dict.fromkeys(rows)) == [("0", "b", "7"), ("1", "a", "3"), ("2", "b", "5"), ("x", "c", "9")]
    summary = data_set_summary(placed, CAMVID.class_names, min_images=1)
    write_group_table(tmp_path / "groups.csv", {"tiny": summary})
    rows = table(tmp_path / "groups.csv")
    assert [(row["group"], row["images"]) for row in rows if row["stage"] == "raw"] == [("b", "2"), ("a", "1")]
    alone = data_set_summary([records[0], records[2]], CAMVID.class_names, min_images=1)["stages"]["raw"]
    assert float(rows[0]["hollow_fraction"]) == pytest.approx(alone["hollow_fraction"]["mean"])
    assert float(rows[0]["times_chance"]) == pytest.approx(alone["interclass_noise"]["times_chance"])
    assert rows[0]["hollow_fraction_low"] == ""


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
