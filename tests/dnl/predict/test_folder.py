"""Files of probabilities: they say what made them, and no other ones are taken for them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dnl.checkpoints import checkpoint_hash, save_checkpoint
from dnl.classes import CAMVID
from dnl.files import VERSION
from dnl.network import ModelConfig, build_model
from dnl.predict.__main__ import main
from dnl.predict.marks import fingerprint


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Two small untrained networks that differ in their weights alone."""
    folder, files = tmp_path_factory.mktemp("checkpoints"), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = build_model(ModelConfig("resnet18", 8, CAMVID.num_classes, gamma_init=0.5)).eval()
        model.label_set = CAMVID
        files.append(folder / f"{seed}.safetensors")
        save_checkpoint(files[-1], model, {})
    return files


@pytest.fixture
def photo(tmp_path):
    file = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 52, 3), np.uint8)).save(file)
    return file


def predict(checkpoint, photo, out, *more):
    given = ("--checkpoint", checkpoint, "--data", photo, "--out", out, "--probabilities", *more)
    return main(list(map(str, given)))


def test_probabilities_say_what_made_them(checkpoints, photo, tmp_path):
    assert predict(checkpoints[0], photo, tmp_path / "out", "--scales", 1, 1.5, "--flip") == 0
    with np.load(tmp_path / "out" / "probabilities" / "photo.npz") as stored:
        metadata = json.loads(str(stored["metadata"]))
        assert metadata["pixels"] == fingerprint(stored["probabilities"])
        assert stored["class_names"].tolist() == list(CAMVID.class_names)
    with Image.open(photo) as picture:
        assert metadata["source"] == fingerprint(np.asarray(picture))
    assert metadata["made"] == {
        "version": VERSION,
        "checkpoint": "1.safetensors",
        "sha256": checkpoint_hash(checkpoints[0]),
        "inference": {"scales": [1.0, 1.5], "flip": True, "window": None, "overlap": 1 / 3},
    }


@pytest.mark.parametrize("labels_are_gone", [True, False])
def test_probabilities_of_another_checkpoint_are_left_and_named(labels_are_gone, checkpoints, photo, tmp_path, capsys):
    for number in (0, 1):
        assert predict(checkpoints[number], photo, tmp_path / str(number)) == 0
    file = tmp_path / "0" / "probabilities" / "photo.npz"
    other = (tmp_path / "1" / "probabilities" / "photo.npz").read_bytes()
    file.write_bytes(other)
    if labels_are_gone:
        (tmp_path / "0" / "labels" / "photo.png").unlink()
    capsys.readouterr()
    assert predict(checkpoints[0], photo, tmp_path / "0") == 1
    assert f"{file} was made otherwise (sha256 differs); move that file away" in capsys.readouterr().err
    assert file.read_bytes() == other
    file.unlink()
    assert predict(checkpoints[0], photo, tmp_path / "0") == 0 and file.read_bytes() != other


def test_probabilities_that_were_changed_or_are_of_another_photo_are_left_and_named(
    checkpoints, photo, tmp_path, capsys
):
    out = tmp_path / "out"
    assert predict(checkpoints[0], photo, out) == 0
    file, labels = out / "probabilities" / "photo.npz", out / "labels" / "photo.png"
    own = file.read_bytes()
    with np.load(file) as stored:
        arrays = dict(stored)
    labels.unlink()
    capsys.readouterr()
    for changed, words in (
        (arrays | {"probabilities": arrays["probabilities"] / 2}, "was changed, or is not of this command"),
        ({"probabilities": arrays["probabilities"]}, "is not of this command: it is no file of marked probabilities"),
        (arrays | {"metadata": np.array("[]")}, "is not of this command: it is no file of marked probabilities"),
    ):
        np.savez(file, **changed)
        assert predict(checkpoints[0], photo, out) == 1
        assert f"{file} {words}" in capsys.readouterr().err and not labels.exists()
    file.write_bytes(own)
    with Image.open(photo) as picture:
        picture.rotate(180).save(photo)
    for kind in ("colours", "overlays"):
        (out / kind / "photo.png").unlink()
    assert predict(checkpoints[0], photo, out) == 1
    assert f"{file} is of another image" in capsys.readouterr().err and file.read_bytes() == own


def test_whole_folders_are_gone_on_with(checkpoints, photo, tmp_path, capsys):
    for made, kept in ((1, False), (0, True)):
        assert predict(checkpoints[0], photo, tmp_path / "out") == 0
        said = capsys.readouterr().out
        assert f"{made} image" in said and ("were there before" in said) == kept
