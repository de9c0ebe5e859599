"""A run's configuration: overrides, values that make no sense, earlier versions, stages of a shorter run."""

import dataclasses

import pytest

from dnl.training.config import TrainConfig, flat, from_dict, override
from dnl.training.recipes import RECIPES, describe, recipe


def test_overrides():
    config = override(recipe("camvid_dnl"), ["epochs=7", "model.gate=binary", "compile=true", "learning_rate=1e-4"])
    assert (config.epochs, config.model.gate, config.compile, config.learning_rate) == (7, "binary", True, 1e-4)
    for setting, message in {
        "epochs": "no '='",
        "wings=2": "no setting wings",
        "model.wings=2": r"no setting model\.wings",
        "epochs=many": "type int",
        "model.gate=fence": "choose one of sigmoid",
        "epochs=0": "in 1 …",
        "compile=perhaps": "type bool",
    }.items():
        with pytest.raises(ValueError, match=message):
            override(recipe("camvid_dnl"), [setting])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ohem_threshold": 1.5}, r"ohem_threshold is 1\.5; it must lie in 0 … 1"),
        ({"blur": 1e300}, r"blur is 1e\+300; it must lie in 0 … 20"),
        ({"colour_cast": 1.5}, r"colour_cast is 1\.5; it must lie in 0 … 1"),
        ({"ohem_least": -0.1}, r"ohem_least is -0\.1; it must lie in 0 … 1"),
        ({"gradient_clip": -1.0}, "gradient_clip is -1.0; it must not be negative"),
        ({"settling_batches": -1}, "settling_batches is -1; it must lie in 0"),
        ({"start_from": "a", "backbone_weights": "b"}, "give one of them"),
        ({"min_scale": 2.0}, r"scales are 2\.0 … 1\.6"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**settings)


def test_a_configuration_of_an_earlier_version_gets_the_defaults_and_an_unknown_one_is_refused():
    fields = dataclasses.asdict(recipe("camvid_dnl"))
    for added in ("ohem_threshold", "ohem_least", "backbone_weights"):
        del fields[added]
    assert from_dict(fields) == recipe("camvid_dnl")
    with pytest.raises(ValueError, match="no setting wings in this version"):
        from_dict({**fields, "wings": 2})
    with pytest.raises(ValueError, match="no setting tail in this version"):
        from_dict({**fields, "model": {**fields["model"], "tail": 1}})


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_what_is_printed_can_be_given_back_as_settings(name):
    config = recipe(name)
    lines = describe(name, config).split("\n\n")[-1].splitlines()
    assert len(lines) == len(flat(config))
    assert override(TrainConfig(), sorted(lines, key=lambda line: line.startswith("fresh_parts"))) == config


def stages(config):
    return config.warmup_steps, config.attention_restart, config.skip_from


def test_stages_scale_with_the_epochs_unless_they_are_set():
    shipped = recipe("camvid_dnl")
    assert override(shipped, []) == override(shipped, ["epochs=84"]) == shipped
    assert stages(override(shipped, ["epochs=10"])) == (24, 1, 6)
    assert stages(override(shipped, ["epochs=3"])) == (7, 1, 2)
    assert stages(override(shipped, ["epochs=1"])) == (2, 0, 0)
    assert stages(override(shipped, ["skip_from=50", "epochs=10", "warmup_steps=9"])) == (9, 1, 50)
    started = override(shipped, ["epochs=10"])
    assert override(started, ["epochs=10", "learning_rate=1e-3"]).skip_from == started.skip_from
