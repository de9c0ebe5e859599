"""Settings that do not fit together, and what is lost of what a run starts from."""

import pytest

from dnl.training.config import override
from dnl.training.consistency import begun_anew, require_learning, require_weights, stages_beyond
from dnl.training.recipes import recipe


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
