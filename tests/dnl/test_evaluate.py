"""Scoring a checkpoint, with its attention and without."""

import dataclasses
import errno
import io
import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from dnl import evaluate as scoring
from dnl.checkpoints import save_checkpoint
from dnl.classes import LabelSet
from dnl.datasets import Look
from dnl.evaluate import alter_attention, altered_attention, main
from dnl.inference import Inference
from dnl.network import ModelConfig, build_model


def small_model(context="dnl"):
    torch.manual_seed(0)
    return build_model(ModelConfig("resnet18", 8, 11, context=context, gamma_init=0.5))


def test_attention_cannot_be_altered_without_a_block():
    model = small_model("fcn")
    alter_attention(model)
    with pytest.raises(ValueError, match="no attention block"):
        alter_attention(model, gamma=0.0)
    with pytest.raises(ValueError, match="no attention block"), altered_attention(model, gamma=0.0):
        pass


@pytest.mark.parametrize("gamma", [float("nan"), float("inf"), 1e300])
def test_a_gamma_that_the_weights_cannot_hold_is_refused(gamma):
    model = small_model()
    with pytest.raises(ValueError, match="it must be a finite number"):
        alter_attention(model, gamma=gamma)
    assert model.context.gamma.item() == 0.5


def test_the_attention_comes_back_after_an_error():
    model = small_model()
    with pytest.raises(RuntimeError), altered_attention(model, gamma=0.0, source="mean"):
        assert model.context.gamma.item() == 0 and model.context.attention_source == "mean"
        raise RuntimeError
    assert model.context.gamma.item() == 0.5 and model.context.attention_source == "learnt"


def test_a_checkpoint_that_is_not_there_is_one_sentence(capsys):
    assert main(["--checkpoint", "nosuch", "--dataset", "streets"]) == 1
    assert "no checkpoint 'nosuch'" in capsys.readouterr().err


@pytest.mark.parametrize(("file", "message"), [("no/scores.json", "create it first"), ("", "is a folder")])
def test_a_file_for_the_scores_that_cannot_be_is_said_before_anything_is_loaded(file, message, tmp_path, capsys):
    assert main(["--checkpoint", "nosuch", "--dataset", "streets", "--json", str(tmp_path / file)]) == 1
    assert message in capsys.readouterr().err


# --- data of one's own -----------------------------------------------------------------------------------------------

NAMES = ("道路", "naïve", "sky")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Arguments that score a small network of three classes on one image, in the folder layout."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    for kind in ("images", "labels"):
        (tmp_path / kind / "val").mkdir(parents=True)
    labels = np.repeat(np.arange(3, dtype=np.uint8), 16)[:, None].repeat(48, 1)
    Image.fromarray(labels).save(tmp_path / "labels" / "val" / "a.png")
    Image.fromarray(np.stack([labels * 80] * 3, axis=2)).save(tmp_path / "images" / "val" / "a.png")
    write_classes(tmp_path, NAMES)
    torch.manual_seed(0)
    model = build_model(ModelConfig("resnet18", 8, 3, attention_stride=8)).eval()
    model.label_set = LabelSet("own", NAMES, tuple((i, i, i) for i in range(3)), 255)
    save_checkpoint(tmp_path / "own.safetensors", model, {})
    return ["--checkpoint", str(tmp_path / "own.safetensors"), "--dataset", "folder", "--data", str(tmp_path)]


def write_classes(root, names):
    classes = [{"name": name, "colour": [index, 0, 0]} for index, name in enumerate(names)]
    (root / "classes.json").write_text(json.dumps({"classes": classes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("naïve", "道路", "sky"), "the same classes in another order, class 0 is '道路' in the first, 'naïve' in"),
        (("道路", "naïve", "sea"), "class 2 is 'sky' in the first, 'sea' in the second"),
    ],
)
def test_classes_that_differ_are_named(names, message, own, tmp_path, capsys):
    write_classes(tmp_path, names)
    assert main(own) == 1
    assert message in capsys.readouterr().err


def test_scores_are_written_and_shown_in_any_terminal(own, tmp_path, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", terminal)
    file = tmp_path / "scores.json"
    assert main([*own, "--json", str(file)]) == 0
    terminal.flush()
    assert "mIoU" in terminal.buffer.getvalue().decode("cp1252")
    assert "道路" in json.loads(file.read_text(encoding="utf-8"))["iou"]


def test_each_group_has_its_score(own, tmp_path, capsys):
    for group in ("north", "south"):
        for part in ("images", "labels"):
            folder = tmp_path / part / "train" / group
            folder.mkdir(parents=True)
            shutil.copy(tmp_path / part / "val" / "a.png", folder)
    file = tmp_path / "scores.json"
    assert main([*own, "--split", "train", "--json", str(file)]) == 0
    scores = json.loads(file.read_text(encoding="utf-8"))
    assert scores["groups"] == {"north": scores["miou"], "south": scores["miou"]}  # of the same image
    assert f"north  {scores['miou']:.4f} mIoU" in capsys.readouterr().out
    assert main([*own, "--split", "dev:south", "--json", str(file)]) == 0
    assert "groups" not in json.loads(file.read_text(encoding="utf-8"))
    assert main([*own, "--split", "dev"]) == 1
    assert "write dev:GROUP with one of north (1 images), south (1 images)" in capsys.readouterr().err


def test_a_full_disk_does_not_take_the_scores_away(own, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(scoring, "write_json", full)
    assert main([*own, "--json", str(tmp_path / "scores.json")]) == 1
    output = capsys.readouterr()
    assert "mIoU" in output.out and os.strerror(errno.ENOSPC) in output.err


def test_labels_that_cannot_be_meant_are_said_before_anything_is_scored(own, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scoring, "evaluate_groups", None)
    Image.fromarray(np.full((48, 48), 7, np.uint8)).save(tmp_path / "labels" / "val" / "a.png")
    assert main(own) == 1
    assert "a.png" in capsys.readouterr().err


def test_masks_of_0_and_255_are_no_perfect_score(own, tmp_path, capsys):
    file = tmp_path / "labels" / "val" / "a.png"
    Image.fromarray((np.asarray(Image.open(file)) > 1).astype(np.uint8) * 255).save(file)
    assert main(own) == 1
    assert "hold 0 and 255 only, and 255 means ignored: save the object as 1" in capsys.readouterr().err
    assert main([*own, "--coding", "indices"]) == 0
    assert main([*own, "--coding", "raw"]) == 1
    assert "has no coding 'raw'; choose one of indices, colours, one-based" in capsys.readouterr().err


def test_a_coding_may_be_named(own, tmp_path, capsys):
    file = tmp_path / "labels" / "val" / "a.png"
    Image.fromarray(np.asarray(Image.open(file)) + 1).save(file)
    assert main(own) == 1
    assert 'name the coding "one-based"' in capsys.readouterr().err
    assert main([*own, "--coding", "one-based"]) == 0
    assert "the labels are read as indices from 1, 0 = none" in capsys.readouterr().err.splitlines()


def test_what_looks_wrong_is_said_and_scored(own, tmp_path, capsys):
    stripes = np.kron(np.array([[0, 2], [2, 0]], np.uint8), np.ones((12, 12), np.uint8))
    resized = Image.fromarray(stripes).resize((48, 48), Image.Resampling.BILINEAR)
    resized.save(tmp_path / "labels" / "val" / "a.png")
    assert main(own) == 0
    assert "a.png seems to have been resized smoothly" in capsys.readouterr().err


# --- large images ----------------------------------------------------------------------------------------------------


def test_what_a_large_image_takes_is_said_with_the_window_that_takes_less(monkeypatch):
    monkeypatch.setattr(scoring, "_timed", lambda model, side: (side**2 + side**4 / 256**2) * 1e-6)
    model = small_model().eval()
    assert scoring.foreseen(model, Look(1, largest=(1000, 1000)), Inference()) is None
    sentence = scoring.foreseen(model, Look(1, largest=(3000, 4000)), Inference())
    assert "the largest image, 3000×4000 pixels, takes about" in sentence and "--window 1024" in sentence
    assert "--window" not in scoring.foreseen(model, Look(1, largest=(3000, 4000)), Inference(window=512))


def test_an_image_that_takes_minutes_is_asked_for(monkeypatch):
    monkeypatch.setattr(scoring, "_timed", lambda model, side: (side**2 + side**4 / 256**2) * 1e-6)
    model, look = small_model().eval(), Look(1, largest=(3000, 4000))
    with pytest.raises(ValueError, match=r"takes about 37 minutes and .* with --window 1024 .*; .* or add --large"):
        scoring.foreseen(model, look, Inference(), large=False)
    assert "37 minutes" in scoring.foreseen(model, look, Inference(), large=True)


def test_the_time_foreseen_grows_with_the_square_where_images_are_seen_whole(monkeypatch):
    monkeypatch.setattr(scoring, "_timed", lambda model, side: side**2 + side**4 / 256**2)
    timing = scoring.time_law(small_model())
    assert timing(512**2) == pytest.approx(512**2 + 512**4 / 256**2)
    assert timing(4000 * 3000) == pytest.approx(12e6 + 12e6**2 / 256**2)


def test_an_image_that_needs_more_memory_than_there_is_is_refused(monkeypatch):
    monkeypatch.setattr(scoring, "memory_there", lambda device: 2**30)
    model = small_model().eval()
    with pytest.raises(ValueError, match=r"3000×4000 pixels, takes at least .* GiB of memory, more than the 1\.0"):
        scoring.foreseen(model, Look(1, largest=(3000, 4000)), Inference())


def test_memory_grows_with_classes_and_width():
    model = small_model()
    wider = dataclasses.replace(model.config, width=64, num_classes=150)
    assert scoring.least_memory(wider, 1000) > 5 * scoring.least_memory(model.config, 1000) > 0
