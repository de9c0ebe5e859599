"""Recipes as files, and the command that makes their figures."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dnl
from analysis.figures import FORMATS, main
from analysis.figures.recipe import recipe_from_json, recipe_hash
from tests.analysis.figures.small import IMAGE, VALUES, make, write

ROOT = Path(__file__).parents[3]


def test_the_same_recipe_gives_the_same_bytes_in_another_process(folder, zoo):
    here = {name: make(folder, f"one.{name}") for name in FORMATS}
    code = (
        "import sys\nfrom analysis.figures import main\n"
        "for name in sys.argv[1:]: assert main(['recipe.json', f'two.{name}']) == 0"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "DNL_CHECKPOINTS": str(zoo), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, *FORMATS], cwd=folder, env=environment, check=True)
    assert {name: (folder / f"two.{name}").read_bytes() for name in FORMATS} == here


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
        ({"rows": [{"image": {**IMAGE, "labels": "photo.png"}, "pixel": [0, 0]}]}, "more than 1024 colours"),
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
