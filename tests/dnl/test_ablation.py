"""The ablation on tiny streets: plan, runs, resuming, scores and table."""

import json

import pytest
import torch
from PIL import Image

from dnl import ablation
from dnl.ablation import VARIANTS, budgeted, finished_runs, main, run_folder, variant_config
from dnl.checkpoints import load_checkpoint
from dnl.datasets import CamVid, Streets
from dnl.training.engine import evaluate, evaluate_groups
from dnl.training.recipes import recipe

SETTINGS = (
    "model.width=8",
    "batch_size=2",
    "crop_height=40",
    "crop_width=56",
    "streets_per_epoch=0",
    "workers=0",
    "settling_batches=2",
    "precision=float32",
)
NETWORKS = ["nl", "dnl-binary"]
DRIVES = ["0001TP_0", "Seq05VD_f"]


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    """Four streets to train on and two to evaluate on, shrunk to 48×64 pixels, in CamVid's layout; three of two drives
    to test on."""
    root = tmp_path_factory.mktemp("camvid")
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        scenes = Streets("val" if split == "test" else split, count)
        for folder, resampling in ((split, Image.Resampling.BILINEAR), (f"{split}annot", Image.Resampling.NEAREST)):
            (root / folder).mkdir()
            for index, scene in enumerate(scenes):
                picture = scene.image if folder == split else scene.labels
                name = f"{DRIVES[index % 2]}{index:05}" if split == "test" else scene.name
                Image.fromarray(picture).resize((64, 48), resampling).save(root / folder / f"{name}.png")
    return root


def arguments(camvid, out, *extra, variants=NETWORKS, epochs="2", seeds="2", settings=SETTINGS):
    sets = [part for setting in settings for part in ("--set", setting)]
    budget = ["--epochs", epochs] if epochs else []
    options = ["--data", str(camvid), "--out", str(out), "--seeds", seeds, *budget, "--variants", *variants]
    return [*options, *sets, *extra]


@pytest.fixture(scope="module")
def whole(camvid, tmp_path_factory):
    """An ablation of two networks and two seeds that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "ablation"
    assert main(arguments(camvid, out)) == 0
    return out


def scores(out, variant, seed):
    return json.loads((run_folder(out, variant, seed) / "ablation.json").read_text())


def test_every_variant_is_another_network_and_the_rest_is_shared():
    shared = recipe("camvid_dnl")
    configs = {name: variant_config(shared, name, seed=4) for name in VARIANTS}
    assert len({config.model for config in configs.values()}) == 8
    for config in configs.values():
        assert config.seed == 4
        assert variant_config(config, "dnl-sigmoid", seed=0) == shared or config.model.lr_weights == "box"
    assert configs["dnl-box"].model.lr_weights == "box"
    assert {configs[name].model.context for name in VARIANTS} == {"fcn", "nl", "nl+gr", "nl+lr", "dnl"}


def test_a_shorter_schedule_keeps_its_shape():
    config = budgeted(recipe("camvid_dnl"), 21)  # a quarter of 84
    assert (config.epochs, config.evaluate_every, config.warmup_steps) == (21, 21, 50)
    assert (config.attention_restart, config.skip_from) == (2, 12)  # of 10 and 50
    assert budgeted(recipe("camvid_dnl"), 2).attention_restart == 1  # 0 would mean never
    assert budgeted(recipe("ade20k_dnl_r101"), 2).attention_restart == 0


def test_scores_are_those_of_the_weights(whole, camvid):
    figures = scores(whole, "dnl-binary", 1)
    model, card = load_checkpoint(run_folder(whole, "dnl-binary", 1) / "model.safetensors")
    assert (model.config.gate, card["recipe"]["seed"], card["epochs_trained"]) == ("binary", 1, 2)
    validation = CamVid(camvid, "val")
    assert figures["miou"] == evaluate(model, validation).miou
    assert figures["gamma"] == model.context.gamma.item()
    assert figures["images"] == 2
    with torch.no_grad():
        model.context.gamma.zero_()
    assert figures["miou_gamma_0"] == evaluate(model, validation).miou


def test_the_table_holds_means_and_spreads_over_the_seeds(whole):
    table = json.loads((whole / "table.json").read_text())
    assert [row["variant"] for row in table["rows"]] == NETWORKS
    speeds = json.loads((whole / "speed.json").read_text())
    assert all(speed > 0 for speed in speeds.values())
    for row in table["rows"]:
        values = [scores(whole, row["variant"], seed)["miou"] for seed in (0, 1)]
        assert row["seeds"] == [0, 1]
        assert row["miou"]["values"] == values
        assert row["miou"]["mean"] == pytest.approx(sum(values) / 2)
        assert row["miou"]["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        assert row["raw_noise"] is None
        assert row["images_per_second"]["values"] == [speeds[row["variant"]]]
    text = (whole / "table.md").read_text()
    row = table["rows"][0]["miou"]
    assert f"| nl | 2 | {row['mean']:.3f} ± {row['sd']:.3f} |" in text
    assert "2 epochs" in text and "noise" not in text


def test_the_same_command_again_trains_nothing(whole, camvid, monkeypatch, capsys):
    for work in ("train", "training_update"):
        monkeypatch.setattr(ablation, work, lambda *_, **__: pytest.fail("trained again"))
    assert main(arguments(camvid, whole)) == 0
    assert (whole / "table.md").read_text() in capsys.readouterr().out


def test_finished_runs_are_scored_on_another_split_without_training(whole, camvid, monkeypatch, capsys):
    monkeypatch.setattr(ablation, "train", lambda *_, **__: pytest.fail("trained again"))
    table_of_val = (whole / "table.json").read_text()
    assert main(arguments(camvid, whole, "--split", "test")) == 0
    assert (whole / "table-test.md").read_text() in capsys.readouterr().out
    assert (whole / "table.json").read_text() == table_of_val
    figures = json.loads((run_folder(whole, "nl", 1) / "ablation-test.json").read_text())
    model, _ = load_checkpoint(run_folder(whole, "nl", 1) / "model.safetensors")
    expected = evaluate_groups(model, CamVid(camvid, "test"))
    assert figures["miou"] == expected.whole.miou and figures["images"] == 3
    assert figures["groups"] == {group: scores.miou for group, scores in expected.groups.items()}
    table = json.loads((whole / "table-test.json").read_text())
    assert table["split"] == "test" and table["rows"][0]["miou"]["values"][1] == figures["miou"]
    assert table["rows"][0]["miou_Seq05VD"]["values"][1] == figures["groups"]["Seq05VD"]
    heading = (whole / "table-test.md").read_text().splitlines()[2]
    assert heading.startswith("| network | seeds | test mIoU | 0001TP | Seq05VD | γ = 0 |")


def test_an_interrupted_ablation_goes_on_to_the_same_weights(whole, camvid, tmp_path, monkeypatch, capsys):
    from dnl.training import run as training

    original, epochs = training.train_one_epoch, []

    def stop_in_the_fourth_epoch(*args, **kwargs):  # the second one of the second run
        epochs.append(1)
        if len(epochs) == 4:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    out = tmp_path / "cut"
    monkeypatch.setattr(training, "train_one_epoch", stop_in_the_fourth_epoch)
    assert main(arguments(camvid, out)) == 130
    assert capsys.readouterr().err.rstrip().endswith("the same command goes on")
    assert [run[:2] for run in finished_runs(out)] == [("nl", 0)]
    first = (run_folder(out, "nl", 0) / "ablation.json").read_text()
    assert main(arguments(camvid, out)) == 0
    assert len(epochs) == 4 + 1 + 2 * 2  # the rest of the second run, then two whole ones
    assert (run_folder(out, "nl", 0) / "ablation.json").read_text() == first
    for variant, seed, folder in finished_runs(whole):
        one, two = (
            load_checkpoint(f / "model.safetensors")[0].state_dict() for f in (folder, run_folder(out, variant, seed))
        )
        assert all(torch.equal(one[key], two[key]) for key in one), (variant, seed)


def test_another_plan_is_refused_and_other_faults_are_one_sentence(whole, camvid, tmp_path, capsys):
    for changed in ({"epochs": "3"}, {"settings": [*SETTINGS, "learning_rate=1"]}, {"epochs": None}):
        assert main(arguments(camvid, whole, **changed)) == 1
        assert "holds another recipe, budget or settings" in capsys.readouterr().err
    for extra, message in (
        (["--seeds", "0"], "--seeds is 0"),
        (["--data", str(tmp_path / "no")], "is missing"),
        (["--split", "tests"], "tests"),
    ):
        assert main(arguments(camvid, tmp_path / "new", *extra)) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ") and message in error


def test_minutes_become_epochs_once(camvid, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "seconds_per_update", lambda *_: (3.0, 5))
    monkeypatch.setattr(ablation, "run_one", lambda *_: None)
    monkeypatch.setattr(ablation, "score", lambda *_: {"miou": 0.5})
    for folder in ("nl/seed-0", "nl/seed-1"):
        (tmp_path / folder).mkdir(parents=True)
    assert main(arguments(camvid, tmp_path, "--minutes", "1", variants=["nl"], epochs=None)) == 0
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["config"]["epochs"] == 4  # 60 seconds, 15 an epoch
    monkeypatch.setattr(ablation, "seconds_per_update", lambda *_: pytest.fail("timed again"))
    assert main(arguments(camvid, tmp_path, "--minutes", "1", variants=["nl"], epochs=None)) == 0
    assert "planned as 1 minutes" in (tmp_path / "table.md").read_text()


def test_updates_are_timed_on_the_data(camvid):
    from dnl.distributed import World
    from dnl.training.config import override

    config = override(recipe("camvid_dnl"), list(SETTINGS))
    seconds, updates = ablation.seconds_per_update(config, str(camvid), World(0, 1, torch.device("cpu")))
    assert seconds > 0 and updates == 2
