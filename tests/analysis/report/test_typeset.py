import csv
import json
import shutil
import subprocess

import pytest

from analysis.report.paper import Figure, PaperTable, Row, paper_tables
from analysis.report.typeset import latex, latex_text, markdown, markdown_text

HOSTILE = r"[a]%$_&{}#~^\|`\"<>--*"
TABLE = PaperTable(
    "one",
    f"Noise of {HOSTILE}",
    ("checkpoint", "stage"),
    ("interclass noise", "× chance", "p"),
    (
        (
            Row((HOSTILE, "raw"), (Figure(0.41249, 0.38, 0.4501), Figure(12.5), "< 0.001")),
            Row(("", "rectified"), (Figure(-0.2, -0.3, None), Figure(None), "–")),
        ),
        (Row(("Straße*", "raw"), (Figure(-0.0001, -1.25, 0.5), Figure(0.5), "0.031")),),
    ),
)


def test_numbers_are_aligned_and_their_intervals_stand_beneath():
    lines = latex([TABLE], 2).splitlines()
    assert r"\begin{tabular}{llS[table-format=-1.2]S[table-format=2.2]S[table-format=1.2]}" in lines
    assert r"Checkpoint & Stage & {Interclass noise} & {$\times$ chance} & {p} \\" in lines
    first = next(place for place, line in enumerate(lines) if " & raw & " in line)
    assert lines[first].endswith(r" & raw & 0.41 & 12.50 & {\textless{} 0.001} \\*")
    assert lines[first + 1] == r" &  & {\scriptsize[\num{0.38}, \num{0.45}]} &  &  \\"
    assert lines[first + 2] == r" & rectified & -0.20 & {--} & {--} \\"
    assert r"Straße{*} & raw & 0.00 & 0.50 & {0.031} \\*" in lines
    assert lines.count(r"\midrule") == 2 and lines.count(r"\toprule") == lines.count(r"\bottomrule") == 1


def test_special_characters_are_escaped():
    assert latex_text("50%_&#{$}~^\\") == (
        r"50\%\_\allowbreak{}\&\#\{\$\}\textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert latex_text("two\nlin\0es\ud800") == "two lin es" and latex_text("--") == "-{}-{}"
    assert markdown_text("a|b_c*") == r"a\|b\_c\*"
    assert latex_text("long " * 200).count("long") == 200  # captions are not cut


def test_the_same_table_in_markdown():
    lines = markdown([TABLE], 3).splitlines()
    assert lines[2:4] == [
        "| checkpoint | stage | interclass noise | × chance | p |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    assert lines[4].endswith(r"| raw | 0.412 (0.380 … 0.450) | 12.500 | \< 0.001 |")
    assert lines[5] == "|  | rectified | -0.200 | – | – |"
    assert all(line.replace(r"\|", "").count("|") == 6 for line in lines[2:])


@pytest.mark.parametrize("digits", [0, 7])
def test_digits_that_no_table_has_are_refused(digits):
    with pytest.raises(ValueError, match=f"{digits} digits; give 1 to 6"):
        latex([TABLE], digits)


def test_a_reports_tables_hold_its_figures(finished):
    summary = json.loads((finished / "summary.json").read_text())
    tables = {table.label: table for table in paper_tables({"tiny": summary})}
    first = tables["stages"].blocks[0][0]
    raw = summary["stages"]["raw"]
    assert first.names == ("tiny", "raw")
    assert first.cells[0] == Figure(*(raw["interclass_noise"][key] for key in ("mean", "low", "high")))
    assert first.cells[1].mean == raw["interclass_noise"]["times_chance"]
    caption = tables["stages"].caption
    about = summary["provenance"]
    assert "On camvid, val, 3 images" in caption and "against ground truth; gate sigmoid, LR window 3." in caption
    assert about["checkpoint"]["sha256"][:12] in caption and about["version"] in caption
    classes = tables["classes-1-hollow-fraction"].blocks
    assert {row.names[0] for row in classes[1]} == set(raw["hollow_fraction"]["per_class"])
    assert classes[0][0].cells[0].mean == raw["hollow_fraction"]["mean"]
    changes = [row for block in tables["changes-1"].blocks for row in block]
    assert changes[0].cells[0].mean == summary["differences"]["rectified - raw"]["interclass_noise"]["mean"]
    assert f"{raw['interclass_noise']['mean']:.3f}" in (finished / "tables.tex").read_text()
    assert f"{raw['interclass_noise']['mean']:.3f}" in (finished / "tables.md").read_text()
    with (finished / "figures.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["mean"]) == raw["interclass_noise"]["mean"]
    assert {row["over"] for row in rows} >= {"images", "class", "difference", "difference of a class"}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX")
def test_tex_takes_the_tables_without_a_warning(finished, tmp_path):
    long = TABLE._replace(label="long", blocks=(TABLE.blocks[0] + TABLE.blocks[1] * 50,))
    (tmp_path / "tables.tex").write_text((finished / "tables.tex").read_text() + latex([TABLE, long]))
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs,siunitx,longtable}\sloppy"
        r"\begin{document}\input{tables}\end{document}"
    )
    for _ in range(3):  # longtable measures its columns in the runs before
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert not [line for line in log.splitlines() if "Warning" in line or line.startswith(("Overfull", "!"))]
