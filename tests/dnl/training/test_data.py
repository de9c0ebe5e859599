"""What a run is given: the look before the start, streets among other classes, and what is recorded and compared."""

import json

import numpy as np
import pytest
from PIL import Image

from dnl.checkpoints import read_card
from dnl.datasets import open_dataset
from dnl.distributed import World
from dnl.training.batches import training_batches
from dnl.training.config import override
from dnl.training.data import memory_kept
from dnl.training.recipes import recipe

COLOURS = [[0, 160, 60], [120, 80, 40], [10, 20, 230]]


def write_classes(root, names, **more):
    classes = [{"name": name, "colour": colour} for name, colour in zip(names, COLOURS, strict=True)]
    (root / "classes.json").write_text(json.dumps({"classes": classes, **more}))


@pytest.fixture
def plants(tmp_path, monkeypatch):
    """Four tiny images a split of three classes of one's own, in the folder layout."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    rng = np.random.default_rng(2)
    root = tmp_path / "plants"
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(4):
            labels = np.repeat(np.repeat(rng.integers(0, 3, (4, 5), np.uint8), 12, 0), 12, 1)
            Image.fromarray(np.stack([labels * 80] * 3, axis=2)).save(root / "images" / split / f"{index}.png")
            Image.fromarray(labels).save(root / "labels" / split / f"{index}.png")
    write_classes(root, ["leaf", "soil", "sky"])
    return root


FOLDER = ["dataset=folder", "model.num_classes=3", "streets_per_epoch=4", "streets_pool=2", "epochs=2"]


@pytest.fixture
def run(plants, tiny_run):
    """A run on the plants."""
    of_plants = tiny_run("run")
    of_plants.data = plants
    return of_plants


def test_streets_are_left_out_among_other_classes_and_that_is_said(run, capsys):
    assert run(settings=FOLDER) == 0
    assert "the built-in streets are left out: folder has other classes" in capsys.readouterr().out
    assert len(run.curves) == 4  # of four images alone, two a batch
    assert "streets" not in read_card(run.out / "model.safetensors")["data"]


def test_streets_among_camvids_classes_take_the_data_set_s_ignore_index(plants):
    names = open_dataset("streets", None, "train").label_set.class_names
    classes = [{"name": name, "colour": [index, 0, 0]} for index, name in enumerate(names)]
    (plants / "classes.json").write_text(json.dumps({"classes": classes}))
    config = override(recipe("camvid_dnl"), [*FOLDER, "model.num_classes=11", "workers=0"])
    training = open_dataset("folder", plants, "train")
    _, batches = training_batches(config, training, World(0, 1, None))
    assert len(batches.dataset.datasets) == 2
    for position in range(4):
        _, labels = batches.dataset[0, position, 4 + position]
        assert set(np.unique(labels)) <= {*range(11), 255}


def test_what_a_run_was_started_on_is_recorded(run):
    assert run(settings=FOLDER) == 0
    data = run.config["data"]
    assert data["classes"] == ["leaf", "soil", "sky"] and data["ignore_index"] == 255 and data["processes"] == 1
    assert data["train"]["images"] == data["val"]["images"] == 4
    assert data["train"]["names"] == data["val"]["names"]  # 0 … 3 in both


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "in the checkpoint alone"])
def test_other_classes_are_refused_with_the_first_that_differs(
    recorded, run, plants, in_epoch, monkeypatch, only_error
):
    in_epoch(2)
    assert run(settings=[*FOLDER, "evaluate_every=1"]) == 130
    only_error()
    monkeypatch.undo()
    if not recorded:
        fields = run.config
        del fields["data"]
        (run.out / "config.json").write_text(json.dumps(fields))
    before = run.config
    write_classes(plants, ["soil", "leaf", "sky"])
    assert run.resume() == 1
    message = only_error()
    assert "in another order, class 0 is 'leaf' in the first, 'soil' in the second" in message
    assert run.config == before
    write_classes(plants, ["leaf", "soil", "water"])
    assert run.resume() == 1
    assert "class 2 is 'sky' in the first, 'water' in the second" in only_error()
    write_classes(plants, ["leaf", "soil", "sky"])
    assert run.resume() == 0


def test_other_images_are_said_and_noted_once(run, plants, in_epoch, monkeypatch, capsys):
    in_epoch(2)
    assert run(settings=FOLDER) == 130
    monkeypatch.undo()
    for kind in ("images", "labels"):
        (plants / kind / "val" / "3.png").unlink()
        (plants / kind / "train" / "3.png").rename(plants / kind / "train" / "x.png")
    capsys.readouterr()
    assert run.resume() == 0
    out = capsys.readouterr().out
    assert "val has 3 images, it had 4; noted in config.json" in out
    assert "the images of train have other names than before; noted in config.json" in out
    (change,) = run.config["changes"]
    assert change["after_epoch"] == 1 and change["data"]["val"][0]["images"] == 4
    assert run.config["data"]["val"]["images"] == 3
    assert run.resume() == 0
    assert len(run.config["changes"]) == 1


def test_a_value_that_is_no_class_in_the_validation_split_is_found_before_the_start(run, plants, only_error):
    labels = np.zeros((48, 60), np.uint8)
    labels[5, 5] = 7
    Image.fromarray(labels).save(plants / "labels" / "val" / "2.png")
    assert run(settings=FOLDER) == 1
    message = only_error()
    assert "2.png" in message and "7" in message
    assert not list(run.out.iterdir())


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_labelled_pixels_is_refused_before_the_start(split, run, plants, only_error):
    for file in (plants / "labels" / split).iterdir():
        Image.fromarray(np.full((48, 60), 255, np.uint8)).save(file)
    assert run(settings=FOLDER) == 1
    message = only_error()
    assert f"labels/{split}" in message and "ignored" in message
    assert not list(run.out.iterdir())


def test_the_memory_that_is_kept_counts_the_loading_processes():
    from dnl.datasets import Look

    config = override(recipe("camvid_dnl"), ["workers=3"])
    assert memory_kept(config, Look(1, pixels=100), Look(1, pixels=10)) == 4 * (3 * 100 + 10)
