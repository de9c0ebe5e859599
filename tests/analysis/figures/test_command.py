"""Recipes as files: the same bytes each time, exact sizes, text as text, and the command."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

import dnl
from analysis.figures import FORMATS, FigureModel, caption_text, file_image, main, open_captures
from analysis.figures.recipe import RecipeError, recipe_from_json, recipe_hash
from dnl import ModelConfig, build_model
from dnl.checkpoints import file as checkpoints
from dnl.checkpoints import save_checkpoint
from dnl.classes import CAMVID

ROOT = Path(__file__).parents[3]
SIZE = (48, 64)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    torch.manual_seed(0)
    for name, context in (("small", "dnl"), ("blind", "fcn")):
        model = build_model(ModelConfig("resnet18", 8, 11, context=context, attention_stride=8, gamma_init=0.5))
        model.label_set = CAMVID
        save_checkpoint(folder / f"{name}.safetensors", model, {"name": name})
    return folder


@pytest.fixture
def folder(tmp_path, zoo, monkeypatch) -> Path:
    """A folder with a photo, its labels and a recipe of both."""
    monkeypatch.setattr(checkpoints, "ZOO", zoo)
    monkeypatch.delenv("DNL_CHECKPOINTS", raising=False)
    monkeypatch.delenv("DNL_DATA", raising=False)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    labels = np.kron(rng.integers(0, 3, (6, 8)), np.ones((8, 8), int)).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    write(tmp_path, VALUES)
    return tmp_path


IMAGE = {"source": "file", "path": "photo.png", "labels": "labels.png"}
VALUES = {
    "checkpoints": [{"name": "small"}],
    "rows": [{"image": IMAGE, "pixel": [10, 50], "title": "one"}, {"image": IMAGE, "pixel": [40, 5]}],
    "columns": ["photo", "labels", "raw", "retained", "retained-rectified"],
    "look": {"class_outline": "true", "letters": "columns"},
}


def write(folder: Path, values: dict) -> Path:
    path = folder / "recipe.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def make(folder: Path, name: str, *options: str) -> bytes:
    assert main([str(folder / "recipe.json"), str(folder / name), *options]) == 0
    return (folder / name).read_bytes()


def texts_of_pdf(data: bytes) -> str:
    """All the text of a PDF whose fonts are coded by Unicode, but for characters beyond Latin-1 and ligatures."""
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.S):
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        for block in re.findall(rb"\nBT\n(.*?)\nET", content, re.S):
            shown = b"".join(re.findall(rb"\(((?:\\.|[^\\)])*)\)", block, re.S))
            plain = re.sub(rb"\\([()\\])", rb"\1", shown)
            found.append("".join(char for char in plain.decode("utf-16-be", "ignore") if char >= " "))
    return "\n".join(found)


def test_the_same_recipe_gives_the_same_bytes_in_another_process(folder, zoo):
    here = {name: make(folder, f"one.{name}") for name in FORMATS}
    code = (
        "import sys\nfrom analysis.figures import main\n"
        "for name in sys.argv[1:]: assert main(['recipe.json', f'two.{name}']) == 0"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "DNL_CHECKPOINTS": str(zoo), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, *FORMATS], cwd=folder, env=environment, check=True)
    assert {name: (folder / f"two.{name}").read_bytes() for name in FORMATS} == here


def test_the_same_recipe_gives_the_same_bytes_on_any_number_of_threads(folder):
    usual = torch.get_num_threads()
    try:
        made = []
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            made.append({name: make(folder, f"out.{name}") for name in FORMATS})
    finally:
        torch.set_num_threads(usual)
    assert made[0] == made[1] == made[2]


def test_a_users_settings_of_matplotlib_do_not_show(folder):
    plain = make(folder, "out.png")
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "image.cmap": "gray", "lines.linewidth": 9}):
        assert make(folder, "out.png") == plain
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize("width", [3.5, 7.16, 4.123])
def test_sizes_are_exactly_the_columns_width(folder, width):
    write(folder, VALUES | {"columns": ["raw", "retained"], "look": {"width": width}})
    media = re.search(rb"/MediaBox \[ 0 0 (\S+) (\S+) \]", make(folder, "out.pdf"))
    assert float(media[1]) == pytest.approx(72 * width, abs=1e-6)
    svg = ElementTree.fromstring(make(folder, "out.svg"))
    assert float(svg.get("width").removesuffix("pt")) == pytest.approx(72 * width, abs=1e-3)
    for dpi in (300, 600):
        picture = Image.open(io.BytesIO(make(folder, "out.png", "--dpi", str(dpi))))
        assert picture.size == (round(width * dpi), round(float(media[2]) / 72 * dpi))
        assert picture.info["dpi"] == pytest.approx((dpi, dpi), abs=0.01)


def test_fonts_are_embedded_and_text_stays_text(folder):
    pdf = make(folder, "out.pdf")
    fonts = pdf.count(b"/Subtype /Type0")
    assert fonts and pdf.count(b"/Subtype /CIDFontType2") == pdf.count(b"/FontFile2") == fonts
    assert pdf.count(b"/ToUnicode") == fonts
    assert b"/Subtype /Type3" not in pdf
    written = texts_of_pdf(pdf)
    for text in ("(a) photo", "(d) retained", "softmax", "LR 3×3", "one", "chance"):
        assert text in written
    svg = ElementTree.fromstring(make(folder, "out.svg"))
    lines = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"(a) photo", "(d) retained", "(e) retained", "− rectified"} <= {line.replace("\xa0", " ") for line in lines}


def test_files_say_what_they_were_made_of(folder, zoo):
    recipe = recipe_from_json((folder / "recipe.json").read_bytes())
    facts = {
        "checkpoints": {"small": hashlib.sha256((zoo / "small.safetensors").read_bytes()).hexdigest()},
        "recipe_sha256": recipe_hash(recipe),
        "version": dnl.__version__,
    }
    assert json.loads(Image.open(io.BytesIO(make(folder, "out.png"))).text["Description"]) == facts
    assert json.dumps(facts).encode() in make(folder, "out.pdf")
    svg = ElementTree.fromstring(make(folder, "out.svg"))
    (note,) = svg.iter("{http://purl.org/dc/elements/1.1/}description")
    assert json.loads(note.text) == facts


def test_no_date_and_no_path_enter_a_file(folder):
    for name in FORMATS:
        data = make(folder, f"out.{name}")
        assert b"CreationDate" not in data and b"dc:date" not in data
        assert str(folder).encode() not in data


def test_files_that_are_the_recorded_ones_pass(folder, zoo):
    hashes = {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in (
            ("small", zoo / "small.safetensors"),
            ("photo", folder / "photo.png"),
            ("labels", folder / "labels.png"),
        )
    }
    image = IMAGE | {"sha256": hashes["photo"], "labels_sha256": hashes["labels"].upper()}
    rows = [{"image": image, "pixel": [1, 2]}]
    write(folder, VALUES | {"checkpoints": [{"name": "small", "sha256": hashes["small"]}], "rows": rows})
    make(folder, "out.png")


def test_camvid_is_read_from_its_folder(folder):
    for name in ("val", "valannot"):
        (folder / "data" / name).mkdir(parents=True)
    Image.open(folder / "photo.png").save(folder / "data/val/a b.png")
    Image.open(folder / "labels.png").save(folder / "data/valannot/a b.png")
    row = {"image": {"source": "camvid", "split": "val", "file": "a b"}, "pixel": [10, 50]}
    write(folder, VALUES | {"rows": [row]})
    camvid = make(folder, "camvid.png", "--data", str(folder / "data"))
    write(folder, VALUES | {"rows": [{"image": IMAGE, "pixel": [10, 50]}]})
    same = make(folder, "file.png")
    assert (np.asarray(Image.open(io.BytesIO(camvid))) == np.asarray(Image.open(io.BytesIO(same)))).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"colour": 1}, "recipe.json: there is no field colour; the fields there are checkpoints, "),
        ({"checkpoints": [{"name": "nowhere"}]}, "checkpoint nowhere: there is no checkpoint 'nowhere'"),
        ({"checkpoints": [{"name": "small", "sha256": "00"}]}, "checkpoint small: its SHA-256 is .* made with 00"),
        ({"checkpoints": [{"name": "blind"}]}, r"rows\[0\].image: this model has no attention block"),
        ({"rows": [{"image": {"source": "street", "index": 12}, "pixel": [0, 0]}]}, "streets are 0 … 11"),
        ({"rows": [{"image": {**IMAGE, "path": "gone.png"}, "pixel": [0, 0]}]}, "gone.png cannot be read"),
        ({"rows": [{"image": {**IMAGE, "path": "a\0b"}, "pixel": [0, 0]}]}, "cannot be read"),
        ({"rows": [{"image": {**IMAGE, "path": "recipe.json"}, "pixel": [0, 0]}]}, "not a readable PNG"),
        ({"rows": [{"image": {**IMAGE, "labels": "photo.png"}, "pixel": [0, 0]}]}, "label image holds the colours"),
        ({"rows": [{"image": {**IMAGE, "sha256": "12"}, "pixel": [0, 0]}]}, "recipe was made with 12"),
        ({"rows": [{"image": {**IMAGE, "labels_sha256": "12"}, "pixel": [0, 0]}]}, "recipe was made with 12"),
        ({"rows": [{"image": IMAGE, "pixel": [48, 0]}]}, r"rows\[0\].pixel: pixel \(48, 0\) is off the image"),
        (
            {"rows": [{"image": {"source": "camvid", "split": "val", "file": "x"}, "pixel": [0, 0]}]},
            r"rows\[0\].image: CamVid needs its folder; name it with --data DIR",
        ),
    ],
)
def test_a_recipe_that_cannot_be_used_gets_one_sentence(folder, capsys, change, sentence):
    path = write(folder, VALUES | change)
    assert main([str(path), str(folder / "out.pdf")]) == 1
    output = capsys.readouterr()
    assert re.search(sentence, output.err) and output.err.count("\n") == 1 and not output.out
    assert not (folder / "out.pdf").exists()


@pytest.mark.parametrize(
    ("recipe", "out", "sentence"),
    [
        ("recipe.json", "out.jpg", "out.jpg ends in no known format; let it end in .pdf, .svg, .png"),
        ("recipe.json", "nowhere/out.pdf", "nowhere does not exist"),
        ("gone.json", "out.pdf", "gone.json cannot be read"),
        ("photo.png", "out.pdf", "photo.png: the recipe is not readable JSON"),
    ],
)
def test_files_that_cannot_be_used_get_one_sentence(folder, capsys, recipe, out, sentence):
    assert main([str(folder / recipe), str(folder / out)]) == 1
    assert sentence in capsys.readouterr().err


def test_each_image_is_captured_once_by_each_checkpoint(folder):
    values = VALUES | {"checkpoints": [{"name": "small"}, {"name": "twin"}]}
    values["rows"] = [*VALUES["rows"], {**VALUES["rows"][0], "checkpoint": "twin"}]
    recipe = recipe_from_json(json.dumps(values))
    model = FigureModel(dnl.load_checkpoint("small")[0], "ab" * 32)
    seen = []

    def capture(name, picture):
        seen.append((name, picture))
        return picture.name + name

    def open_image(source, label_set):
        return file_image(source, lambda path: (folder / path).read_bytes(), label_set)

    captures, hashes = open_captures(recipe, lambda name: model, open_image, capture)
    assert captures == ["photo.pngsmall", "photo.pngsmall", "photo.pngtwin"] and len(seen) == 2
    assert hashes == {"small": "ab" * 32, "twin": "ab" * 32}


def test_the_caption_says_what_is_drawn(folder):
    recipe = recipe_from_json((folder / "recipe.json").read_bytes())
    model = FigureModel(dnl.load_checkpoint("small")[0], "ab" * 32)

    def open_image(source, label_set):
        return file_image(source, lambda path: (folder / path).read_bytes(), label_set)

    captures, hashes = open_captures(recipe, lambda name: model, open_image)
    text = caption_text(recipe, captures, hashes)
    for part in (
        "2 pixels in photo.png",
        "raw (softmax), retained (LR 3×3)",
        "retained − rectified",
        "multiples of an even spread",
        "λ over chance",
        f"small (abababababab), recipe {recipe_hash(recipe)[:12]}",
    ):
        assert part in text
    assert "prediction" not in text


def test_opening_is_left_to_the_caller(folder):
    recipe = recipe_from_json((folder / "recipe.json").read_bytes())

    def refuse(source, label_set):
        raise RecipeError("this may not be opened here")

    with pytest.raises(RecipeError, match=r"rows\[0\].image: this may not be opened here"):
        open_captures(recipe, lambda name: FigureModel(dnl.load_checkpoint("small")[0], ""), refuse)
