"""Recipes: presets, and what is printed of them."""

import dataclasses
import json

import pytest

from dnl import train as training
from dnl.training.config import from_dict
from dnl.training.recipes import NOTES, RECIPES, recipe


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_build_and_survive_json(name):
    config = recipe(name)
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(("name", "images"), [("cityscapes_dnl_r101", 2975), ("ade20k_dnl_r101", 20210)])
def test_the_published_network_trains_as_its_sources_do(name, images):
    config = recipe(name)
    assert (config.model.backbone, config.model.width, config.model.context) == ("resnet101", 64, "dnl")
    assert (config.optimizer, config.learning_rate, config.momentum, config.weight_decay) == ("sgd", 0.01, 0.9, 5e-4)
    assert (config.poly_power, config.head_rate, config.query_key_rate, config.logit_std) == (0.9, 10, 1, 0)
    assert (config.min_scale, config.max_scale) == (0.5, 2.0)
    updates = images // config.batch_size * config.epochs
    assert updates == pytest.approx({"cityscapes": 80_000, "ade20k": 160_000}[config.dataset], rel=0.01)
    assert f"{updates:,}" in {"80,136", "160,401"}
    assert "inferred" in NOTES[name]


def test_a_preset_is_printed_with_its_note_and_with_what_is_overridden(capsys):
    assert training.main(["--recipe", "cityscapes_dnl_r101", "--print", "--set", "model.gate=binary"]) == 0
    text = capsys.readouterr().out
    assert "every training value here is inferred" in " ".join(text.split())
    assert "\ncrop_height=769\n" in text
    assert "\nmodel.gate=binary  (the preset has sigmoid)\n" in text
    assert training.main(["--recipe", "camvid_dnl", "--print", "--set", "wings=1"]) == 1
    assert "no setting wings" in capsys.readouterr().err


def test_a_run_without_a_folder_is_refused(capsys):
    with pytest.raises(SystemExit) as exit_:
        training.main(["--recipe", "camvid_dnl"])
    assert exit_.value.code == 2
    assert "name it with --out" in capsys.readouterr().err


def test_the_camvid_twins_differ_in_the_block_alone():
    twins = {f"nl_{name}": f"camvid_dnl_{name}" for name in ("refined", "varied", "sharpened", "pasted", "lite0")}
    for name, own in {"nl": "camvid_dnl", "fcn": "camvid_dnl", **twins}.items():
        twin = recipe(f"camvid_{name}")
        model = dataclasses.replace(twin.model, context="dnl")
        assert dataclasses.replace(twin, model=model) == recipe(own)


def test_a_recipe_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match="no recipe 'x'; choose one of camvid_dnl"):
        recipe("x")
