import dataclasses
import json
import math

import pytest

from analysis.card.view import (
    ABLATION_WORDS,
    choice_sentences,
    flatten,
    noise_rows,
    noise_source,
    overview_row,
    read_ablation,
    read_log,
    train_command,
    training_logs,
    view_card,
    worth_of,
)
from dnl.ablation import COLUMNS, VARIANTS, run_folder, tabulate
from dnl.checkpoints import CheckpointError, read_card, recipes_of
from dnl.checkpoints.file import ZOO
from dnl.training.recipes import RECIPES

CONFIG = {"backbone": "resnet18", "width": 8, "num_classes": 11, "context": "dnl", "gate": "binary"}


def entry(noise: float, chance: float = 0.8) -> dict:
    return {
        "interclass_noise": {"mean": noise, "chance": chance},
        "hollow_fraction": {"mean": 0.7},
        "intraclass_noise": {"mean": 0.5},
        "kept_mass": {"mean": 0.9},
    }


METRICS = {
    "camvid_val": {"miou": 0.6, "pixel_accuracy": 0.9, "iou": {"Sky": 0.9, "Road": 0.3}, "miou_gamma_0": 0.5},
    "streets_val": {"miou": 0.7},
    "gamma": 0.25,
    "attention": {"raw": entry(0.4)},
    "gates": {"binary": {"rectified": entry(0.2), "retained": entry(0.3), "emptied": {"rectified": 5, "retained": 2}}},
}


LR = {"lr_kernel": 3, "lr_weights": "learnt"}


def card(**entries) -> dict:
    return {"name": "one", "config": CONFIG, "data": "streets", "licence": "free", "metrics": METRICS, **entries}


def recipe(name: str, **settings) -> dict:
    return {"name": name, **dataclasses.asdict(RECIPES[name]), **settings}


@pytest.mark.parametrize("context", ["fcn", "nl", "nl+gr"])
def test_a_network_without_lr_has_no_settings_of_it(context):
    view = view_card(card(config={**CONFIG, **LR, "context": context}))
    assert not any(row["setting"].startswith("LR") for row in view.network)


def test_a_card_says_which_parts_alone_have_learnt():
    view = view_card(card(recipe=recipe("camvid_dnl_sharpened")))
    assert {"setting": "parts that learnt", "value": "fuse, head, refine, sharpen"} in view.recipe


def test_a_card_for_reading():
    config = {**CONFIG, **LR}
    view = view_card(
        card(config=config, recipe=recipe("camvid_dnl", seed=3), total_steps=77, training_history=["paused once"])
    )
    assert (view.name, view.data, view.licence) == ("one", "streets", "free")
    network = {row["setting"]: row["value"] for row in view.network}
    assert network["attention"] == "Denoised NL (GR and LR), binary gate" and network["backbone"] == "resnet18"
    assert "LR window (cells)" in network and "LR weights" in network
    shown = {row["setting"]: row["value"] for row in view.recipe}
    assert shown["recipe"] == "camvid_dnl" and shown["seed"] == "3" and shown["updates"] == "77"
    assert "started from" not in shown and "parts that learnt" not in shown  # empty texts
    settings = {row["setting"]: row["value"] for row in view.settings}
    assert settings["recipe.model.width"] == str(RECIPES["camvid_dnl"].model.width)
    assert not any(name.startswith("metrics") for name in settings)
    assert view.scores["camvid val"]["iou"] == {"Sky": 0.9, "Road": 0.3}
    assert "trained before by" not in shown
    assert view.history == ["paused once"]
    assert "γ = 0" in view.health.sentence


def test_what_the_attention_is_worth_is_read_from_the_scores():
    scores = {"miou": 0.6, "miou_uniform": 0.4, "miou_gamma_0": 0.1, "pixel_accuracy": 0.9}
    assert list(worth_of(scores).items()) == [
        ("the learnt map", 0.6),
        ("without the block (γ = 0)", 0.1),
        ("with uniform attention", 0.4),
    ]
    assert worth_of({"miou": 0.6}) == {}


def test_the_overview_takes_the_first_score():
    row = overview_row(view_card(card()))
    assert (row["mean IoU"], row["measured on"], row["attention"]) == (0.6, "camvid val", "alive")
    bare = overview_row(view_card(card(metrics={}, config={**CONFIG, "context": "fcn"})))
    assert (bare["mean IoU"], bare["measured on"], bare["attention"]) == (None, "not measured", "none")


def test_noise_by_gate_and_stage():
    raw, rectified, retained = noise_rows(METRICS)
    assert (raw["gate"], raw["stage"], raw["interclass noise"], raw["× chance"]) == ("–", "raw", 0.4, 0.5)
    assert (rectified["gate"], rectified["× chance"], rectified["emptied rows"]) == ("binary", 0.25, 5)
    assert retained["stage"] == "retained (LR)" and retained["emptied rows"] == 2
    assert noise_rows({}) == []


def test_what_noise_was_measured_on_is_said_with_its_limits():
    assert noise_source({}) == ""
    assert noise_source({"attention": {"images": 3, "raw": entry(0.4)}}) == (
        "Measured on a split that the card does not name, 3 images."
    )
    raw = entry(0.4)
    raw["interclass_noise"] |= {"low": 0.25, "high": 0.55}
    intervals = {"method": "Student's t over 11 blocks", "speaks_of": "these 2 groups"}
    known = {"attention_split": "camvid test", "attention": {"images": 233, "raw": raw, "intervals": intervals}}
    assert noise_source(known) == (
        "Measured on camvid test, 233 images. Raw interclass noise: 0.400, 95 % interval 0.250 … 0.550, Student's t "
        "over 11 blocks; it speaks of these 2 groups."
    )


def test_noise_that_is_not_known_stays_unknown():
    row = noise_rows({"attention": {"raw": entry(None)}})[0]
    assert row["interclass noise"] is None and row["× chance"] is None


@pytest.mark.parametrize(
    "entries",
    [
        {"metrics": {"camvid_val": {"miou": "high"}}},
        {"metrics": {"attention": {"raw": 3}}},
        {"metrics": [1, 2]},
        {"config": {"backbone": "resnet18"}},
        {"recipe": 7},
        {"recipe": {"name": "camvid_dnl", "mean_of": [4, 9]}},
    ],
)
def test_a_card_of_another_form_is_said(entries):
    with pytest.raises(CheckpointError, match="another form"):
        view_card(card(**entries))


def test_flatten_joins_names_with_dots():
    assert flatten({"a": 1, "b": {"c": 2, "d": {"e": 3}}}) == {"a": 1, "b.c": 2, "b.d.e": 3}


def test_the_command_sets_what_differs_from_the_recipe():
    settings = recipe("camvid_nl", epochs=5)
    settings["model"]["width"] = 16
    command = train_command(card(recipe=settings))
    assert command.startswith("python -m dnl.train --recipe camvid_nl --data")
    assert "--set epochs=5" in command and "--set model.width=16" in command
    assert command.count("--set") == 5 and "--set skip_from=50" in command  # which does not scale with the epochs


def test_the_commands_of_all_trainings_behind_the_weights_follow_each_other():
    second = recipe("camvid_dnl_refined", seed=2) | {"start_from": "model.safetensors"}
    first, last = train_command(card(recipe=second, began_with=[recipe("camvid_dnl", seed=1)])).split("\npython")
    assert first.startswith("python -m dnl.train --recipe camvid_dnl --data") and "--out runs/again-1 " in first
    assert first.endswith("--set seed=1") and "start_from" not in first
    assert " --recipe camvid_dnl_refined " in last and "--out runs/again " in last
    assert "--set start_from=runs/again-1/model.safetensors" in last and last.endswith("--set seed=2")


def test_the_mean_of_trainings_follows_them_and_others_go_on_from_it():
    first, second = recipe("camvid_dnl"), recipe("camvid_dnl_refined") | {"mean_of": [1, 2]}
    *_, average = train_command(card(recipe=second, began_with=[first])).splitlines()
    parts = "runs/again-1/model.safetensors runs/again/model.safetensors"
    assert average == f"python -m dnl.checkpoints.average --out runs/again/mean.safetensors {parts}"
    third = recipe("camvid_dnl_varied")
    *_, last = train_command(card(recipe=third, began_with=[first, second])).split("python -m ")
    assert "--set start_from=runs/again-2/mean.safetensors" in last
    row = {"setting": "mean of the weights after trainings", "value": "1, 2"}
    assert row in view_card(card(recipe=second, began_with=[first])).recipe


def test_earlier_trainings_are_named_with_the_recipe():
    before = [recipe("camvid_dnl", epochs=84), recipe("camvid_dnl_refined", epochs=40)]
    view = view_card(card(recipe=recipe("camvid_dnl_refined"), began_with=before))
    assert {"setting": "trained before by", "value": "camvid_dnl (84 passes), then camvid_dnl_refined (40 passes)"} in (
        view.recipe
    )


def test_the_command_of_the_plain_recipe_sets_nothing():
    assert "--set" not in train_command(card(recipe=recipe("camvid_dnl")))


def test_a_card_without_its_recipe_has_no_command():
    assert train_command(card()) is None
    assert train_command(card(command="python -m dnl.train --recipe x")) == "python -m dnl.train --recipe x"


def write_log(folder, *records) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_log_lists_its_epochs(tmp_path):
    write_log(tmp_path, {"epoch": 1, "loss": 2}, {"epoch": 2, "loss": 1.5, "miou": 0.25})
    assert read_log(tmp_path / "metrics.jsonl") == [
        {"epoch": 1, "loss": 2.0},
        {"epoch": 2, "loss": 1.5, "miou": 0.25},
    ]


@pytest.mark.parametrize("line", ["{", "[1]", '{"loss": 1}', '{"epoch": 1, "loss": "low"}'])
def test_a_broken_log_names_its_line(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"line 2 of metrics\.jsonl"):
        read_log(tmp_path / "metrics.jsonl")


def test_a_log_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        read_log(tmp_path / "metrics.jsonl")


def test_logs_are_found_beside_the_checkpoint_and_in_the_folder(tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    write_log(runs / "first", {"epoch": 1})
    write_log(runs / "second", {"epoch": 1})
    own = runs / "first" / "model.safetensors"
    logs = training_logs(own, runs)
    assert list(logs) == ["this checkpoint's run", "second"]
    assert logs["this checkpoint's run"] == runs / "first" / "metrics.jsonl"
    # A checkpoint of another name may come from any run: its log has its name.
    copy = runs / "first" / "copy.safetensors"
    assert list(training_logs(copy, runs)) == ["first", "second"]
    named = runs / "first" / "copy.metrics.jsonl"
    named.write_text('{"epoch": 1}\n')
    assert training_logs(copy, runs)["this checkpoint's run"] == named


@pytest.mark.parametrize("checkpoint", sorted(ZOO.glob("*.safetensors")), ids=lambda path: path.stem)
def test_shipped_checkpoints_bring_the_log_of_their_run(checkpoint):
    card = read_card(checkpoint)
    records = read_log(training_logs(checkpoint, None)["this checkpoint's run"])
    epochs = sum(recipe["epochs"] for recipe in recipes_of(card))
    assert [record["epoch"] for record in records] == list(range(1, epochs + 1))
    assert records[-1]["miou"] == pytest.approx(card["metrics"]["camvid_val"]["miou"], abs=0.01)


def test_runs_may_lie_nowhere(tmp_path):
    own = tmp_path / "run" / "model.safetensors"
    write_log(own.parent, {"epoch": 1})
    assert training_logs(None, None) == {} and training_logs(own, tmp_path / "nowhere").keys() == {
        "this checkpoint's run"
    }


def test_the_ablation_for_reading(tmp_path):
    table = {
        "recipe": "camvid_dnl",
        "epochs": 4,
        "rows": [
            {"variant": "fcn", "seeds": [0, 1], "miou": {"mean": 0.5, "sd": 0.0123}, "gamma": None, "raw_hollow": None},
            {
                "variant": "nl",
                "seeds": [0],
                "miou": {"mean": 0.6, "sd": None},
                "gamma": {"mean": 0.25, "sd": None},
                "raw_hollow": None,
            },
        ],
    }
    (tmp_path / "table.json").write_text(json.dumps(table))
    ablation = read_ablation(tmp_path / "table.json")
    assert ablation.rows == [
        {"network": "fcn", "seeds": "2", "mean IoU": "0.500 ± 0.012", "γ": "–"},
        {"network": "nl", "seeds": "1", "mean IoU": "0.600", "γ": "0.250"},
    ]
    assert ablation.about == (
        "Recipe camvid_dnl, 4 epochs for each network, measured on val. "
        "Means over 1 … 2 seeds, ± standard deviation where there is more than one. "
        "Missing of the 8 networks: nl+gr-sigmoid, nl+gr-binary, nl+lr, dnl-sigmoid, dnl-binary, dnl-box."
    )


def ablation_of(tmp_path, runs: dict[str, list[dict]]):
    """The table of runs, variant -> the figures of each seed, as `dnl.ablation` writes it."""
    (tmp_path / "plan.json").write_text(
        json.dumps({"recipe": "camvid_dnl", "minutes": None, "config": {"epochs": 4, "dataset": "camvid"}})
    )
    for variant, seeds in runs.items():
        for seed, figures in enumerate(seeds):
            folder = run_folder(tmp_path, variant, seed)
            folder.mkdir(parents=True)
            (folder / "ablation.json").write_text(json.dumps(figures))
    tabulate(tmp_path)
    return read_ablation(tmp_path / "table.json")


def test_one_run_each_has_no_spread_and_every_figure_its_words(tmp_path):
    stages = {"raw": 0.5, "rectified": 0.25, "retained": 0.125}
    figures = {"miou": 0.75} | {
        f"{stage}_{metric}": value + extra
        for stage, value in stages.items()
        for metric, extra in (("intraclass", 0), ("hollow", 0.001))
    }
    ablation = ablation_of(tmp_path, {variant: [figures] for variant in VARIANTS})
    assert [row["network"] for row in ablation.rows] == list(VARIANTS)
    assert ablation.rows[0] == {
        "network": "fcn",
        "seeds": "1",
        "mean IoU": "0.750",
        "intraclass noise, raw": "0.500",
        "intraclass noise, rectified": "0.250",
        "intraclass noise, retained": "0.125",
        "hollow fraction, raw": "0.501",
        "hollow fraction, rectified": "0.251",
        "hollow fraction, retained": "0.126",
    }
    assert ablation.about == (
        "Recipe camvid_dnl, 4 epochs for each network, measured on val. "
        "One run each: how far another seed would lie from it is not known."
    )


def test_as_many_seeds_for_all_are_counted_once(tmp_path):
    ablation = ablation_of(tmp_path, {variant: [{"miou": 0.5}, {"miou": 0.75}] for variant in VARIANTS})
    assert ablation.about.endswith("measured on val. Means over 2 seeds, ± standard deviation.")
    assert ablation.rows[0]["mean IoU"] == "0.625 ± 0.177"


def test_every_figure_of_an_ablation_has_words():
    assert list(ABLATION_WORDS) == ["miou", *(column.key for column in COLUMNS)]


def test_no_ablation_is_none_and_a_broken_one_an_error(tmp_path):
    assert read_ablation(tmp_path / "table.json") is None
    for content in ("{", "{}", '{"recipe": "r", "epochs": 1, "rows": []}', '{"rows": [{"variant": 1}]}', "[]"):
        (tmp_path / "table.json").write_text(content)
        with pytest.raises(ValueError, match="another form"):
            read_ablation(tmp_path / "table.json")


def test_no_value_is_nan_in_the_tables():
    for row in noise_rows(METRICS):
        assert all(not (isinstance(value, float) and math.isnan(value)) for value in row.values())


CHOSEN = {"dataset": "camvid", "split": "dev:0006R0", "images": 101}


@pytest.mark.parametrize(
    ("entries", "sentences"),
    [
        ({}, "The card does not say which split it was chosen on. The card has no figure of test."),
        ({"chosen_on": CHOSEN}, "Chosen on camvid dev:0006R0 (101 images). The card has no figure of test."),
        (
            {"chosen_on": CHOSEN, "looks": {"camvid test": 2, "camvid val": 5}},
            "Chosen on camvid dev:0006R0 (101 images). Measured on camvid test 2 times.",
        ),
        (
            {"chosen_on": CHOSEN, "metrics": {"camvid_test": {"miou": 0.5}}},
            "Chosen on camvid dev:0006R0 (101 images). How often test was measured is not recorded.",
        ),
    ],
)
def test_a_card_says_what_a_network_was_chosen_on_and_how_often_test_was_looked_at(entries, sentences):
    given = {**card(metrics={}), **entries}
    assert choice_sentences(given) == view_card(given).choice == sentences


@pytest.mark.parametrize(
    "entries", [{"chosen_on": 3}, {"chosen_on": {}}, {"looks": {"camvid test": "x"}}, {"looks": 1}]
)
def test_choices_of_another_form_are_refused(entries):
    with pytest.raises(CheckpointError, match="entries of another form"):
        view_card(card(**entries))


def test_the_scores_of_test_come_first():
    view = view_card(card(metrics={**METRICS, "camvid_test": {"miou": 0.5, "groups": {"0001TP": 0.4}}}))
    assert list(view.scores) == ["camvid test", "camvid val", "streets val"]
    assert overview_row(view)["measured on"] == "camvid test" and view.scores["camvid test"]["groups"] == {
        "0001TP": 0.4
    }
