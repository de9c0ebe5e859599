"""What a recipe was saved with, and what of it is another when it is used again."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import dnl
from analysis.figures import main, open_captures, record, source_differences, version_differences
from analysis.figures.command import _local_image, _local_model
from analysis.figures.recipe import Recipe, recipe_from_json, recipe_hash, recipe_to_json
from analysis.figures.record import recorded
from dnl.checkpoints import file as checkpoints
from dnl.checkpoints import save_checkpoint
from tests.analysis.figures.small import IMAGE, VALUES, write


def opened(folder):
    recipe = recipe_from_json((folder / "recipe.json").read_bytes())
    return recipe, *open_captures(recipe, _local_model, lambda *source: _local_image(*source, folder, None))


@pytest.fixture
def saved(folder) -> Recipe:
    """The folder's recipe with its record, in its file."""
    recipe = recorded(*opened(folder))
    (folder / "recipe.json").write_text(recipe_to_json(recipe), encoding="utf-8")
    return recipe


def told(folder, capsys, status: int = 0) -> list[str]:
    assert main([str(folder / "recipe.json"), str(folder / "out.svg")]) == status
    return capsys.readouterr().err.splitlines()


def test_what_is_equal_is_not_mentioned(folder, saved, capsys):
    assert told(folder, capsys) == []
    write(folder, VALUES)  # without a record
    assert told(folder, capsys) == []
    assert recipe_from_json(recipe_to_json(saved)) == saved
    assert recipe_hash(saved) == recipe_hash(dataclasses.replace(saved, record=None))


def test_each_thing_that_differs_has_a_line(folder, saved, capsys, monkeypatch):
    assert (saved.record.versions.denoised_nl, len(saved.record.images)) == (dnl.__version__, 1)
    for name in ("photo.png", "labels.png"):
        pixels = np.asarray(Image.open(folder / name)).copy()
        pixels[0, 0] = (pixels[0, 0] + 1) % 3
        Image.fromarray(pixels).save(folder / name)
    model, card = dnl.load_checkpoint("small")
    model.context.gamma.data += 1
    (folder / "other").mkdir()
    save_checkpoint(folder / "other" / "small.safetensors", model, card)
    monkeypatch.setattr(checkpoints, "ZOO", folder / "other")
    real = record.version
    monkeypatch.setattr(record, "version", lambda name: "99.1" if name == "torch" else real(name))
    lines = told(folder, capsys)
    assert [line.split(" (")[0] for line in lines] == [
        f"torch is 99.1 here; the recipe was saved with {saved.record.versions.torch}.",
        "small: the file differs from when the recipe was saved",
        "photo.png: the image differs from when the recipe was saved",
        "photo.png: the labels differ from when the recipe was saved",
    ]
    assert f"and {saved.record.images[0].labels_sha256[:12]}… then" in lines[-1]
    assert source_differences(dataclasses.replace(saved, record=None), *opened(folder)[1:]) == []


def test_a_street_that_is_drawn_differently_is_noticed(folder, capsys, monkeypatch):
    write(folder, VALUES | {"rows": [{"image": {"source": "street", "index": 2}, "pixel": [9, 9]}]})
    recipe, captures, hashes = opened(folder)
    saved = recorded(recipe, captures, hashes)
    assert saved.record.images[0].image_sha256 == captures[0].image_sha256
    repainted = dataclasses.replace(captures[0], image=255 - captures[0].image)
    (line,) = source_differences(saved, [repainted], hashes)
    assert line.startswith("Street 3: the image differs from when the recipe was saved (SHA-256 ")
    (line,) = source_differences(saved, [dataclasses.replace(captures[0], labels=None)], hashes)
    assert line.startswith("Street 3: the labels differ") and "(SHA-256 none here and " in line
    wider = dataclasses.replace(captures[0], labels=captures[0].labels.astype(np.int64))
    assert source_differences(saved, [wider], hashes) == []  # the same classes in another type


def test_an_image_that_was_put_in_by_hand_is_not_compared(folder, saved, capsys):
    Image.open(folder / "photo.png").rotate(180).save(folder / "mine.png")
    values = json.loads(recipe_to_json(saved))
    write(folder, values | {"rows": [{"image": IMAGE | {"path": "mine.png"}, "pixel": [3, 4]}]})
    assert told(folder, capsys) == []


def test_versions_are_said_of_a_recipe_that_is_refused_too(folder, saved, capsys):
    values = json.loads(recipe_to_json(saved))
    values["record"]["versions"]["numpy"] = "1.0"
    values["rows"][0]["image"]["labels_sha256"] = "12"
    write(folder, values)
    lines = told(folder, capsys, 1)
    assert lines[0].endswith("the recipe was saved with 1.0.") and "rows[0].image: its labels: its SHA-256" in lines[1]
    assert version_differences(recipe_from_json(json.dumps(VALUES))) == []
