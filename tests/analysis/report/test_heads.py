"""The report on attention files: from files of one network to tables, charts and the page."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from analysis.capture import Layer, Layers, save_layers
from analysis.intervals import mean_interval
from analysis.report import command as report
from analysis.report.head_charts import COLOURS
from dnl.classes import CAMVID, LabelSet
from tests.analysis.report.small import Page, table

pytestmark = pytest.mark.usefixtures("unrendered")  # made, of the whole module, comes before it

CELLS = (4, 6)
SIZE = (16, 24)  # four pixels a cell
LABELS = np.kron(np.array([[0, 1]]), np.ones(SIZE, np.uint8)[:, :12]).astype(np.uint8)  # Sky left, Building right


def layers(share, label_set=CAMVID, labels=LABELS, heads=(0, 1), **options):
    """Head 0 gives `share` of its attention to the other half of the image; the other head looks everywhere alike."""
    cells = np.kron(np.array([[0, 1]]), np.ones((4, 3), int)).ravel()
    other = cells[:, None] != cells
    first = np.where(other, share / 12, (1 - share) / 11) * ~np.eye(24, dtype=bool)
    even = (1 - np.eye(24)) / 23
    known = {"image": np.zeros((*SIZE, 3), np.uint8), "labels": labels, "label_set": label_set, **options}
    maps = {"attention": np.stack([first, even]).astype(np.float32)}
    return Layers(tuple(Layer(name, CELLS, CELLS, heads, maps, known) for name in ("blocks.0", "blocks.1")))


def run(out, *arguments):
    return report.main(["--attention", *map(str, arguments), "--out", str(out)])


SHARES = (0.1, 0.2, 0.3, 0.22)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for number, share in enumerate(SHARES):
        save_layers(layers(share), folder / f"{number}.npz")
    return folder


@pytest.fixture(scope="module")
def made(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    assert run(out, files) == 0
    return out


def test_every_head_has_a_row_with_its_interval(made):
    rows = table(made / "per_head.csv")
    assert [(row["layer"], row["head"], row["stage"]) for row in rows[:3]] == [
        ("blocks.0", "0", "raw"), ("blocks.0", "1", "raw"), ("blocks.0", "", "uniform"),
    ]  # fmt: skip
    expected = mean_interval(SHARES)
    assert float(rows[0]["interclass_noise"]) == pytest.approx(expected.mean)
    assert float(rows[0]["interclass_noise_low"]) == pytest.approx(expected.low)
    assert float(rows[0]["interclass_noise_high"]) == pytest.approx(expected.high)
    assert float(rows[0]["chance"]) == pytest.approx(12 / 23)
    assert float(rows[1]["times_chance"]) == float(rows[2]["times_chance"]) == pytest.approx(1)
    of_class = table(made / "per_class.csv")
    assert {row["class"] for row in of_class} == {"Sky", "Building"}
    assert float(of_class[0]["interclass_noise"]) == pytest.approx(np.mean(SHARES))
    images = table(made / "per_image.csv")
    assert [float(row["interclass_noise"]) for row in images if row["stage"] == "raw"][:4] == pytest.approx(SHARES)


def test_the_summary_the_page_and_the_charts_agree_and_know_no_gr(made):
    summary = json.loads((made / "summary.json").read_text())
    assert summary["lowest"]["head"] == 0 and summary["highest"]["head"] == 1
    assert [file["name"] for file in summary["provenance"]["files"]] == ["0", "1", "2", "3"]
    assert len(summary["provenance"]["files"][0]["sha256"]) == 64
    text = (made / "report.html").read_text()
    page = Page(text)
    assert "Least interclass noise: head 0 of blocks.0 (0.39 × chance)" in page.text
    assert "4 images, 2 layers, 4 heads" in page.text and "uniform attention" in page.text
    assert all(address.startswith(("data:", "#")) for address in page.fetched)
    drawn = {path.name for path in (made / "charts").iterdir()}
    assert drawn == {f"{what}_raw.{end}" for what in ("heads", "layers", "classes") for end in ("png", "svg")}
    header = (made / "per_head.csv").read_text().splitlines()[0]
    for absent in ("rectified", "retained", "auc"):
        assert absent not in header and absent not in json.dumps(summary["layers"])


def test_a_head_that_is_not_there_has_no_colour_of_the_scale():
    colours = COLOURS(np.ma.masked_invalid([np.nan, 0, 0.5, 1]))
    assert colours[:, 3].tolist() == [0, 1, 1, 1]


def test_what_has_to_be_known_of_the_files_is_said(tmp_path, made):
    noted = [
        Layers(tuple(dataclasses.replace(layer, notes=notes) for layer, notes in zip(layers(0.1), own, strict=True)),
               {"blocks.2": "was not called"})
        for own in ((("dropout was on",),) * 2, (("dropout was on",), ("blocks.1: a mask takes part",)))
    ]  # fmt: skip
    for number, each in enumerate(noted):
        save_layers(each, tmp_path / f"{number}.npz")
    assert run(tmp_path / "out", tmp_path / "0.npz", tmp_path / "1.npz") == 0
    told = json.loads((tmp_path / "out" / "summary.json").read_text())["provenance"]["notes"]
    assert told == [
        "0: dropout was on",
        "blocks.2 was left out: was not called",
        "1: blocks.0: dropout was on",
        "1: blocks.1: a mask takes part",
    ]
    text = Page((tmp_path / "out" / "report.html").read_text()).text
    assert all(note in text for note in told)
    assert json.loads((made / "summary.json").read_text())["provenance"]["notes"] == []


def test_files_with_gr_and_lr_have_all_stages_and_controls(tmp_path):
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 1, 8, *CELLS)).astype(np.float32)
    probs = rng.dirichlet(np.ones(11), 24).T.reshape(11, *CELLS).astype(np.float32)
    known = {"labels": LABELS, "label_set": CAMVID, "class_probs": probs, "gate": "sigmoid", "lr_kernel": 3}
    whole = Layers((Layer("", CELLS, CELLS, (0,), {"query": query, "key": key}, known),))
    save_layers(whole, tmp_path / "own.npz")
    assert run(tmp_path / "out", tmp_path / "own.npz") == 0
    stages = [row["stage"] for row in table(tmp_path / "out" / "per_head.csv")]
    assert stages == ["raw", "rectified", "retained", "oracle", "box", "uniform"]


def test_labels_may_lie_beside_the_files(files, made, tmp_path):
    folder, images = tmp_path / "bare", tmp_path / "labels"
    folder.mkdir(), images.mkdir()
    for number, share in enumerate(SHARES):
        save_layers(layers(share, labels=None), folder / f"{number}.npz")
        Image.fromarray(LABELS).save(images / f"{number}.png")
    assert run(tmp_path / "out", folder, "--label-folder", images) == 0
    for name in ("per_head.csv", "per_class.csv", "per_image.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (made / name).read_bytes()


def test_files_of_several_folders_have_them_for_groups(tmp_path):
    for drive in "ab":
        (tmp_path / drive).mkdir()
        for number in (10, 9):
            save_layers(layers(0.2), tmp_path / drive / f"{number}.npz")
    assert run(tmp_path / "out", tmp_path / "a", tmp_path / "b") == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["groups"] == {
        str(tmp_path / "a"): 2, str(tmp_path / "b"): 2,
    }  # fmt: skip
    rows = [row for row in table(tmp_path / "out" / "per_image.csv") if row["head"] == "0" and row["stage"] == "raw"]
    assert [(row["image"], row["place"]) for row in rows[:2]] == [("a/10.npz", "1"), ("a/9.npz", "0")]


@pytest.mark.parametrize("off", [(0,), (1,), (0, 1)])
def test_a_head_that_is_switched_off_has_no_figures_and_the_others_have_theirs(off, files, made, tmp_path):
    """Such heads give nothing to any cell: 24 emptied rows an image."""
    for number, share in enumerate(SHARES):
        first, second = layers(share)
        maps = first.arrays["attention"].copy()
        maps[list(off)] = 0
        changed = dataclasses.replace(first, arrays={"attention": maps})
        save_layers(Layers((changed, second)), tmp_path / f"{number}.npz")
    out = tmp_path / "out"
    assert run(out, tmp_path) == 0
    summary, whole = (json.loads((folder / "summary.json").read_text()) for folder in (out, made))
    heads = summary["layers"]["blocks.0"]["heads"]
    for head in (0, 1):
        if head in off:
            assert heads[str(head)]["query_dependence"] is None and heads[str(head)]["emptied"] == {"raw": 96}
            assert heads[str(head)]["stages"]["raw"]["interclass_noise"]["mean"] is None
        else:
            assert heads[str(head)] == whole["layers"]["blocks.0"]["heads"][str(head)]
    assert summary["layers"]["blocks.1"] == whole["layers"]["blocks.1"]
    assert summary["classes_left_out"] == whole["classes_left_out"]
    if len(off) == 1:
        assert summary["layers"]["blocks.0"]["controls"] == whole["layers"]["blocks.0"]["controls"]
    text = (out / "report.html").read_text()
    assert f"head {off[0]} of blocks.0: raw 96 of 96 queries" in text and "nan" not in text.lower()
    assert "nan" not in (out / "per_head.csv").read_text().lower()
    cells = [row["query_dependence"] for row in table(out / "per_head.csv") if row["stage"] == "raw"]
    assert [cell == "" for cell in cells] == [0 in off, 1 in off, False, False]


def test_a_report_on_heads_that_are_all_switched_off_says_so(tmp_path):
    (first, _) = layers(0.2)
    off = dataclasses.replace(first, arrays={"attention": np.zeros((2, 24, 24), np.float32)})
    save_layers(Layers((off,)), tmp_path / "0.npz")
    assert run(tmp_path / "out", tmp_path / "0.npz") == 0
    text = Page((tmp_path / "out" / "report.html").read_text()).text
    assert "No class has enough cells in enough images" in text and "head 1 of blocks.0: raw 24 of 24 queries" in text


def test_a_file_without_a_labelled_cell_in_some_layer_is_skipped_and_listed(tmp_path, capsys):
    """Less than half of the pixels of each of the two cells of the coarse layer has a label."""
    few = np.full(SIZE, CAMVID.ignore_index, np.uint8)
    few[:7, :16] = LABELS[:7, :16]
    for number, labels in enumerate((few, LABELS, LABELS)):
        fine = layers(0.2, labels=labels)
        coarse = Layer(
            "coarse", (1, 2), (1, 2), (0,), {"attention": np.full((1, 2, 2), 0.5, np.float32)}, fine.layers[0].options
        )
        save_layers(Layers((*fine.layers, coarse)), tmp_path / f"{number}.npz")
    out = tmp_path / "out"
    assert run(out, tmp_path) == 0
    summary = json.loads((out / "summary.json").read_text())
    reason = "head 0 of coarse: the ground truth of '0' leaves every cell without a label; noise needs labelled cells"
    assert summary["images"] == 2 and summary["images_skipped"] == {"0": reason}
    assert [file["name"] for file in summary["provenance"]["files"]] == ["0", "1", "2"]
    assert f"0 was skipped: {reason}." in Page((out / "report.html").read_text()).text
    skipped = [row for row in table(out / "per_image.csv") if row["skipped"]]
    assert [(row["image"], row["layer"], row["skipped"]) for row in skipped] == [("0", "", reason)]
    assert run(tmp_path / "none", tmp_path / "0.npz") == 1
    assert "none of the 1 files can be measured, 0 the first (head 0 of coarse" in capsys.readouterr().err


def test_files_of_one_name_in_folders_of_one_name_are_told_apart(tmp_path, capsys):
    """Their names are their paths below the folder that holds all, and so are those of label images."""
    found, labels = [], tmp_path / "labels"
    for drive, share in (("drive1", 0.1), ("drive2", 0.3)):
        (tmp_path / drive / "caps").mkdir(parents=True)
        found.append(tmp_path / drive / "caps" / "im0.npz")
        save_layers(layers(share, labels=None), found[-1])
    labels.mkdir()
    Image.fromarray(LABELS).save(labels / "im0.png")
    wanted = f"{labels / 'drive1' / 'caps'} has no label images called im0"
    assert wanted in refusal(capsys, "--attention", *found, "--label-folder", labels, "--out", tmp_path / "out")
    for drive, image in (("drive1", LABELS), ("drive2", LABELS[:, ::-1])):
        (labels / drive / "caps").mkdir(parents=True)
        Image.fromarray(image).save(labels / drive / "caps" / "im0.png")
    assert run(tmp_path / "out", *(file.parent for file in found), "--label-folder", labels) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    names = ["drive1/caps/im0.npz", "drive2/caps/im0.npz"]
    assert summary["provenance"]["files"] == [
        {"name": name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for name, file in zip(names, found, strict=True)
    ]
    rows = [row for row in table(tmp_path / "out" / "per_image.csv") if row["head"] == "0" and row["stage"] == "raw"]
    assert [row["image"] for row in rows[:2]] == names
    assert [float(row["interclass_noise"]) for row in rows[:2]] == pytest.approx([0.1, 0.3])


def refusal(capsys, *arguments):
    assert report.main([*map(str, arguments)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    return line


def test_what_cannot_be_measured_is_refused_in_one_line(files, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    bare, other, classes, one = (tmp_path / f"{name}.npz" for name in ("bare", "other", "classes", "one"))
    save_layers(layers(0.2, labels=None), bare)
    assert "bare.npz: it holds no labels" in refusal(capsys, "--attention", bare, *out)
    assert "it holds no prediction" in refusal(capsys, "--attention", bare, *out, "--labels", "prediction")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no label images called bare" in refusal(capsys, "--attention", bare, *out, "--label-folder", empty)
    assert "holds no .npz or .safetensors" in refusal(capsys, "--attention", empty, *out)
    save_layers(layers(0.2, heads=(0, 5)), other)
    assert "0.npz has head 1 of blocks.0 and" in refusal(capsys, "--attention", files / "0.npz", other, *out)
    two = LabelSet("two", ("a", "b"), ((0, 0, 0),) * 2, 255)
    save_layers(layers(0.2, label_set=two), classes)
    assert "know different classes" in refusal(capsys, "--attention", files / "0.npz", classes, *out)
    save_layers(layers(0.2, labels=np.zeros_like(LABELS)), one)
    assert ": the image shows one class only" in refusal(capsys, "--attention", one, *out)
    assert "named twice" in refusal(capsys, "--attention", one, one, *out)
    assert "--split goes with --checkpoint alone" in refusal(capsys, "--attention", one, *out, "--split", "val")
    assert "--layers goes with --attention alone" in refusal(capsys, "--checkpoint", "x", *out, "--layers", "a")
    assert "no layer fits 'x.*'" in refusal(capsys, "--attention", one, *out, "--layers", "x.*")
    assert not (tmp_path / "out" / "summary.json").exists()
