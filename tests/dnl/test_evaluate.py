"""Scoring a checkpoint, with its attention and without."""

import pytest
import torch

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
