import json
import re
from pathlib import Path

import pytest

from analysis.measure import MeasureOptions
from analysis.report.measuring import ReportError, measure_sample
from analysis.report.output import Checkpoint, write_report
from dnl import load_checkpoint
from dnl.classes import CAMVID
from tests.analysis.report.small import Page, make_sample, run, save_model, table

pytestmark = pytest.mark.usefixtures("in_this_process", "unrendered")


def test_images_of_one_class_or_none_are_no_report(checkpoint, tmp_path):
    model, _ = load_checkpoint(checkpoint)
    about = {"dataset": "camvid", "split": "val", "limit": None, "options": {}, "version": "0"}
    of_report = [Checkpoint("tiny", checkpoint, "0" * 64, CAMVID, {})]
    for classes, expected in (((3,), "one class only"), ((11,), "no cell has a label")):
        sample = make_sample(0, classes)
        records = {"tiny": [measure_sample(model, sample, MeasureOptions())]}
        with pytest.raises(ReportError, match=expected):
            write_report(tmp_path, of_report, records, [sample], about)


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


def test_a_report_of_a_plain_network_speaks_of_one_stage(camvid, tmp_path):
    plain = save_model(tmp_path / "plain.safetensors", context="nl")
    assert run(plain, camvid, tmp_path / "out", "--no-detection") == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert list(summary["stages"]) == ["raw", "uniform"] and summary["differences"] == {}
    assert summary["provenance"]["model"] == {"context": "nl", "gate": None, "lr_kernel": None}
    assert {row["stage"] for row in table(tmp_path / "out" / "per_image.csv")} - {""} == {"raw", "uniform"}
    page = Page((tmp_path / "out" / "report.html").read_text()).text.partition("Definitions")[0]
    assert "raw" in page and not {"rectified", "retained", "Retention", "Rectifying"} & set(re.findall(r"\w+", page))
    assert not [name for name in files_of(tmp_path / "out") if "rectified" in name or "retained" in name]


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
