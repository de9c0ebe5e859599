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
    listed = json.loads((out / "records" / "files.json").read_text())
    (out / "records" / "files.json").write_text(json.dumps([*listed, "../bystander.txt", str(bystander), 3]))
    assert run(checkpoint, camvid, out, "--limit", "1") == 0
    assert bystander.read_text() == "stays"


@pytest.mark.parametrize("name", ["summary.json", "charts/stages.svg", "noise_maps", "leakage_raw.csv", "charts"])
def test_files_of_somebody_else_are_not_written_over(name, checkpoint, camvid, tmp_path, capsys):
    """The last two are found only when the report is made: a file for a folder, and a link that leads nowhere."""
    own, out = tmp_path / "out" / name, tmp_path / "out"
    own.parent.mkdir(parents=True)
    if name == "leakage_raw.csv":
        own.symlink_to("nowhere")
    else:
        own.write_text("mine")
    (out / ".report").mkdir()
    (out / ".report" / "notes.txt").write_text("mine too")
    assert run(checkpoint, camvid, out, "--no-detection") == 1
    said = capsys.readouterr().err
    assert f"{own} is there and of no earlier report" in said and "choose another --out" in said
    assert files_of(out) - {name} == {".report/notes.txt"}
    assert own.is_symlink() or own.read_text() == "mine"
    own.unlink()
    assert run(checkpoint, camvid, out, "--no-detection") == 0
    assert run(checkpoint, camvid, out, "--no-detection") == 0
    assert (out / ".report" / "notes.txt").read_text() == "mine too" and not list(out.glob(".dnl-*"))


@pytest.mark.parametrize("content", ["{}", "no JSON"])
def test_a_list_of_files_that_is_none_is_refused(content, checkpoint, camvid, tmp_path, capsys):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "files.json").write_text(content)
    assert run(checkpoint, camvid, tmp_path) == 1
    assert "does not list the files of an earlier report" in capsys.readouterr().err
    assert (tmp_path / "records" / "files.json").read_text() == content


def test_what_a_killed_report_has_left_is_removed(checkpoint, camvid, tmp_path):
    (tmp_path / ".dnl-x1.tmp" / "charts").mkdir(parents=True)
    assert run(checkpoint, camvid, tmp_path, "--no-detection") == 0
    assert not list(tmp_path.glob(".dnl-*"))
