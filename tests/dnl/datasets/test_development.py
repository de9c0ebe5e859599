"""Splits of drives that a network does not learn from."""

import json

import numpy as np
import pytest
from PIL import Image

from dnl.datasets import DatasetError, learnt_from, open_dataset, open_training, split_to_measure

NAMES = ("0001TP_006690", "0006R0_f00930", "0006R0_f00960", "0016E5_00390")


@pytest.fixture
def root(tmp_path):
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
        for value, name in enumerate(NAMES):
            Image.fromarray(np.full((2, 3), value, np.uint8)).save(tmp_path / folder / f"{name}.png")
    return tmp_path


def test_a_drive_of_train_is_a_split_and_the_rest_is_learnt_from(root):
    dev = open_dataset("camvid", root, "dev:0006R0")
    assert dev.names == list(NAMES[1:3])
    assert [int(sample.labels[0, 0]) for sample in dev] == [1, 2]
    rest = open_training("camvid", root, "0006R0")
    assert rest.names == [NAMES[0], NAMES[3]] and rest.origins == [("0001TP", 6690), ("0016E5", 390)]
    assert open_dataset("camvid", root, "dev:0016E5,0001TP").names == [NAMES[0], NAMES[3]]
    assert open_training("camvid", root, "").names == list(NAMES)


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("dev", r"write dev:GROUP with one of 0001TP \(1 images\), 0006R0 \(2 images\), 0016E5"),
        ("dev:", "dev needs groups of train"),
        ("dev:0006R1", "train has no group '0006R1'; it has 0001TP"),
        ("dev:0006R0,x", "train has no group 'x'"),
    ],
)
def test_a_drive_that_is_not_there_is_asked_for(root, split, words):
    with pytest.raises(DatasetError, match=words):
        open_dataset("camvid", root, split)


def test_something_must_be_left_to_learn_from(root):
    with pytest.raises(DatasetError, match="no image left to learn from"):
        open_training("camvid", root, "0001TP,0006R0,0016E5")
    with pytest.raises(DatasetError, match="streets has no groups, of which '1' could be left out"):
        open_training("streets", None, "1")
    with pytest.raises(DatasetError, match="streets have no groups"):
        open_dataset("streets", None, "dev:1")


def folder(root, *places):
    root.mkdir()
    (root / "classes.json").write_text(json.dumps({"classes": [{"name": "leaf", "colour": [0, 160, 60]}]}))
    for place in places:
        for part in ("images", "labels"):
            file = root / part / f"{place}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((2, 3), np.uint8)).save(file)
    return root


def test_a_split_of_the_data_sets_own_called_dev_comes_first(tmp_path):
    own = folder(tmp_path / "own", "train/a/1", "dev/2")
    assert open_dataset("folder", own, "dev").names == ["2"]
    assert open_dataset("folder", own, "dev:a").names == ["a/1"]
    assert split_to_measure("dev", [{"dev_group": "a"}], "folder", own) == "dev"
    plain = folder(tmp_path / "plain", "train/1")
    with pytest.raises(DatasetError, match="images of train have no groups"):
        open_dataset("folder", plain, "dev:a")


def test_dev_alone_is_what_all_networks_were_trained_without(root):
    left_out = {"dev_group": "0006R0"}
    assert split_to_measure("dev", [left_out, left_out], "camvid", root) == "dev:0006R0"
    for recipes in ([left_out, {"dev_group": "0001TP"}], [left_out, {}], [{"dev_group": ["x"]}], [{"dev_group": ""}]):
        assert split_to_measure("dev", recipes, "camvid", root) == "dev"
    assert split_to_measure("val", [left_out], "camvid", root) == "val"
    assert split_to_measure("dev", [{"dataset": "streets"}, left_out], "camvid", root) == "dev:0006R0"


@pytest.mark.parametrize(
    ("recipe", "split", "learnt"),
    [
        ({"dataset": "camvid"}, "train", True),
        ({"dataset": "camvid"}, "val", False),
        ({"dataset": "camvid"}, "dev:0006R0", True),
        ({"dataset": "camvid", "dev_group": "0006R0"}, "dev:0006R0", False),
        ({"dataset": "camvid", "dev_group": "0001TP,0006R0"}, "dev:0006R0", False),
        ({"dataset": "camvid", "dev_group": "0006R0"}, "dev:0006R0,0001TP", True),
        ({"dataset": "camvid", "dev_group": 7}, "dev:7", True),
        ({"dataset": "voc"}, "train", False),
        ({}, "train", False),
    ],
)
def test_images_that_a_network_has_learnt_from_are_known(recipe, split, learnt):
    assert learnt_from([recipe], "camvid", split) is learnt
    assert learnt_from([recipe, {"dataset": "voc"}], "camvid", split) is learnt  # then went on with other images


def test_every_training_behind_the_weights_counts():
    clean, other = {"dataset": "camvid", "dev_group": "0006R0"}, {"dataset": "camvid"}
    assert not learnt_from([clean, clean], "camvid", "dev:0006R0")
    assert learnt_from([other, clean], "camvid", "dev:0006R0") and learnt_from([clean, other], "camvid", "dev:0006R0")
    assert not learnt_from([], "camvid", "train")
