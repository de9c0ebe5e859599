"""Recipes: presets, overrides, what is printed of them, and settings that make no sense."""

import dataclasses
import json

import pytest

from dnl import train as training
from dnl.training.recipes import (
    NOTES,
    RECIPES,
    TrainConfig,
    begun_anew,
    describe,
    flat,
    from_dict,
    override,
    recipe,
    require_learning,
    require_weights,
    stages_beyond,
)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_build_and_survive_json(name):
    config = recipe(name)
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


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
    with pytest.raises(ValueError, match="no recipe 'x'"):
        recipe("x")


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


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_what_is_printed_can_be_given_back_as_settings(name):
    config = recipe(name)
    lines = describe(name, config).split("\n\n")[-1].splitlines()
    assert len(lines) == len(flat(config))
    assert override(TrainConfig(), sorted(lines, key=lambda line: line.startswith("fresh_parts"))) == config


def test_a_run_without_a_folder_is_refused(capsys):
    with pytest.raises(SystemExit) as exit_:
        training.main(["--recipe", "camvid_dnl"])
    assert exit_.value.code == 2
    assert "name it with --out" in capsys.readouterr().err


def test_the_camvid_twins_differ_in_the_block_alone():
    twins = {f"nl_{name}": f"camvid_dnl_{name}" for name in ("refined", "varied", "sharpened", "lite0")}
    for name, own in {"nl": "camvid_dnl", "fcn": "camvid_dnl", **twins}.items():
        twin = recipe(f"camvid_{name}")
        model = dataclasses.replace(twin.model, context="dnl")
        assert dataclasses.replace(twin, model=model) == recipe(own)


def test_a_backbone_that_stays_as_it_is_needs_weights():
    config = recipe("camvid_dnl_lite0")
    with pytest.raises(ValueError, match=r"frozen_stages and freeze_backbone_norms .*backbone_weights=FILE"):
        require_weights(config, "camvid_dnl_lite0")
    require_weights(override(config, ["backbone_weights=efficientnet-lite0.pth"]), "camvid_dnl_lite0")


UNTOUCHED = ["logit_std=0", "attention_restart=0", "skip_from=0"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["learning_parts=,"], "nothing would learn: learning_parts is ','"),
        (["learning_parts=backbone", "frozen_stages=4"], "nothing would learn"),
        (["learning_parts=fuse", "largest_class_weight=3"], "largest_class_weight is 3, which the head is to learn"),
    ],
)
def test_parts_that_cannot_learn_what_is_asked_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        require_learning(override(recipe("camvid_dnl"), [*UNTOUCHED, *settings]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["learning_parts=head", "fresh_parts=refine"], "fresh_parts has refine start anew"),
        (["learning_parts=head", "logit_std=2"], "logit_std has context start anew"),
        (["learning_parts=head", "attention_restart=3"], "attention_restart has context start anew"),
        (["learning_parts=context", "skip_from=2"], "skip_from has head start anew"),
    ],
)
def test_what_starts_anew_must_learn(settings, words):
    untouched = override(recipe("camvid_dnl"), UNTOUCHED)
    require_learning(override(untouched, ["learning_parts=head"]))
    require_learning(override(untouched, settings[1:]))
    require_learning(override(untouched, [*settings, "learning_parts=context, head, refine"]))
    with pytest.raises(ValueError, match=f"{words}, but it would never learn"):
        require_learning(override(untouched, settings))


def test_what_nothing_has_learnt_cannot_be_kept():
    config = override(recipe("camvid_dnl"), ["learning_parts=head"])
    for settings in ([], ["backbone_weights=resnet.pth"]):
        with pytest.raises(ValueError, match="the other parts have learnt nothing yet; name a checkpoint"):
            require_weights(override(config, settings), "camvid_dnl")
    require_weights(override(config, ["start_from=camvid-dnl"]), "camvid_dnl")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("camvid_dnl_refined", r"fresh_parts is 'refine' but .* --set start_from=CHECKPOINT"),
        ("camvid_dnl_sharpened", "goes on with what camvid_dnl_varied has learnt"),
        (
            "camvid_nl_varied",
            "camvid_nl_varied goes on with what camvid_nl_refined has learnt; name its checkpoint with",
        ),
    ],
)
def test_a_later_training_needs_what_the_one_before_has_learnt(name, words):
    config = recipe(name)
    with pytest.raises(ValueError, match=words):
        require_weights(config, name)
    going_on = override(config, ["start_from=runs/first/model.safetensors"])
    require_weights(going_on, name)
    assert begun_anew(going_on) == [] == stages_beyond(going_on, 40 * 122)


# --- stages ----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("name", "updates"), [("camvid_dnl", 84 * 122), ("cityscapes_dnl_r101", 80_136)])
def test_no_stage_of_a_shipped_recipe_outlasts_it(name, updates):
    assert stages_beyond(recipe(name), updates) == []
    for epochs in (1, 2, 3, 10, 50):
        config = override(recipe(name), [f"epochs={epochs}"])
        assert stages_beyond(config, max(1, updates * epochs // recipe(name).epochs)) == []


def test_a_stage_beyond_the_run_is_named():
    config = override(recipe("camvid_dnl"), ["epochs=3", "skip_from=50", "attention_restart=10", "warmup_steps=200"])
    restart, skip, warmup = stages_beyond(config, 6)
    assert "attention_restart is 10 but the run has 3 epochs" in restart
    assert "skip_from is 50 but the run has 3 epochs" in skip
    assert "warmup_steps is 200 but the run has 6 updates: it takes 2" in warmup


def test_what_does_not_stay_as_another_checkpoint_has_it_is_said():
    assert begun_anew(recipe("camvid_dnl")) == []
    going_on = override(recipe("camvid_dnl"), ["start_from=camvid-dnl"])
    attention, skip = begun_anew(going_on)
    assert "query and key start anew (logit_std=2.5, attention_restart=10)" in attention
    assert "closed for 50 epochs" in skip and "skip_from=0" in skip
    assert begun_anew(override(going_on, ["fresh_parts=context, head"])) == []
    assert begun_anew(override(going_on, ["logit_std=0", "attention_restart=0", "skip_from=0"])) == []
    assert begun_anew(override(going_on, ["model.context=fcn"])) == [skip]
