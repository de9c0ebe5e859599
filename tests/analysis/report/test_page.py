import dataclasses
import json
import re
from pathlib import Path

from analysis.report.output import Checkpoint, write_report
from dnl.classes import CAMVID, LabelSet
from tests.analysis.report.small import Page, make_sample, table


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
    tested = summary["differences"]["retained - raw"]["interclass_noise"]
    assert tested["p"] is None and f"No test of interclass noise ({tested['reason']})." in page.text
    assert "prefers-color-scheme: dark" in text and "@media print" in text


def test_names_are_escaped(tmp_path, records):
    evil = "<script>alert('$x$')</script>"
    names = (evil, "\ue000", *CAMVID.class_names[2:])
    label_set = LabelSet("evil", names, CAMVID.palette, 11)
    named = [
        dataclasses.replace(record, name=f"{evil}&{n}", group=f"{evil}{n % 2}") for n, record in enumerate(records)
    ]
    about = {"dataset": evil, "split": None, "limit": None, "options": {}, "version": "0", "definitions": "own"}
    checkpoint = Checkpoint("a-name", Path("a-name"), "0" * 64, label_set, {})
    summary = write_report(tmp_path, [checkpoint], {"a-name": named}, [make_sample(n) for n in range(3)], about)
    page = Page((tmp_path / "report.html").read_text())
    assert "script" not in page.elements and evil in page.text
    assert "\ue000" in page.text and "Names in the charts" in page.text  # which no font has
    assert evil in summary["stages"]["raw"]["kept_mass"]["per_class"]
    assert all(path.parent == tmp_path / "noise_maps" for path in (tmp_path / "noise_maps").iterdir())
    assert (
        "No intervals (3 images of 2 groups: an interval needs" in page.text
        and (tmp_path / "charts/groups.svg").exists()
    )
    assert {row["group"] for row in table(tmp_path / "per_group.csv")} == {f"{evil}0", f"{evil}1"}
    assert evil in {row["class"] for row in table(tmp_path / "per_class.csv")}
