"""Scoring a checkpoint, with its attention and without, on files that fit and others."""

import numpy as np
import pytest
import torch
from PIL import Image

from dnl import evaluate as evaluating
from dnl.checkpoints import save_checkpoint
from dnl.classes import CAMVID
from dnl.evaluate import alter_attention, altered_attention, main
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


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """Score a small network on one image with these labels; the command's exit status."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = small_model()
    model.label_set = CAMVID
    save_checkpoint(tmp_path / "m.safetensors", model, {"name": "m"})
    for part in ("val", "valannot"):
        (tmp_path / part).mkdir()

    def score(labels, *more):
        labels = np.array(labels, np.uint8)
        Image.fromarray(np.full((*labels.shape[:2], 3), 90, np.uint8)).save(tmp_path / "val" / "a.png")
        Image.fromarray(labels).save(tmp_path / "valannot" / "a.png")
        options = ["--checkpoint", str(tmp_path / "m.safetensors"), "--dataset", "camvid", "--data", str(tmp_path)]
        return main([*options, *more])

    return score


def areas(*values):
    return np.repeat(np.repeat(np.array(values, np.uint8), 32, axis=0), 32, axis=1)


def test_masks_of_0_and_255_are_no_perfect_score(scored, capsys):
    assert scored(areas([0, 255])) == 1
    assert "hold 0 and 255 only, and 255 means ignored: save the object as 1" in capsys.readouterr().err
    assert scored(areas([0, 255]), "--coding", "indices") == 0


def test_a_coding_may_be_named(scored, capsys):
    assert scored(areas([17, 21])) == 1
    assert 'name the coding "32-indices"' in capsys.readouterr().err
    assert scored(areas([17, 21]), "--coding", "32-indices") == 0
    assert scored(areas([0, 1]), "--coding", "raw") == 1
    assert "camvid has no coding 'raw'; choose one of indices, colours, official-colours" in capsys.readouterr().err


def test_what_looks_wrong_is_said_and_scored(scored, capsys):
    resized = Image.fromarray(areas([0, 8], [10, 2])).resize((80, 80), Image.Resampling.BILINEAR)
    assert scored(resized) == 0
    assert "a.png seems to have been resized smoothly" in capsys.readouterr().err


def test_large_images_are_scored_when_asked_for(scored, capsys, monkeypatch):
    monkeypatch.setattr(evaluating, "MOST_PIXELS", 1000)
    assert scored(areas([0, 1])) == 1
    told = capsys.readouterr().err
    assert "the largest image has 32×64 pixels: it takes about 1 s and 0.0 GiB" in told and "add --large" in told
    for more in (["--large"], ["--window", "32"]):
        assert scored(areas([0, 1]), *more) == 0
        assert "all together about 1 s" in capsys.readouterr().err
