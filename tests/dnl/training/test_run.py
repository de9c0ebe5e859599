"""A run of training: going on as if nothing had happened, what its epochs change, and given weights to start from."""

import json
import shutil

import pytest
import safetensors.torch
import torch
from filelock import FileLock

from dnl.attention import matrix_product, settle_additions
from dnl.checkpoints import load_checkpoint, read_card, recipes_of
from dnl.network import ModelConfig, build_model
from dnl.train import main
from dnl.training import engine


def assert_same_weights(one, two):
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tiny_run, in_epoch, monkeypatch, only_error):
    streets = ["streets_per_epoch=2", "streets_pool=2", "evaluate_every=1"]
    whole, cut = tiny_run("whole"), tiny_run("cut")
    assert whole(settings=streets) == 0
    in_epoch(2)
    assert cut(settings=streets) == 130
    assert "go on with --resume" in only_error()
    monkeypatch.undo()
    (cut.out / ".dnl-abc.tmp").write_text("half")  # what a killed writer leaves
    assert cut("--resume", settings=streets) == 0
    assert_same_weights(whole.weights, cut.weights)
    assert whole.curves == cut.curves
    assert [record["miou"] for record in whole.records] == [record["miou"] for record in cut.records]
    assert not list(cut.out.glob(".*"))


@pytest.mark.parametrize("in_place", [True, False])
def test_a_resumed_run_adds_its_products_as_it_began(tiny_run, in_epoch, monkeypatch, in_place):
    """Whatever another process measures."""
    run = tiny_run("run")
    monkeypatch.setattr(matrix_product, "_settled", {"in place": in_place})
    in_epoch(2)
    assert run() == 130
    assert torch.load(run.out / "state.pt", weights_only=True)["additions"] is in_place
    monkeypatch.undo()
    monkeypatch.setattr(matrix_product, "_settled", {"in place": not in_place})
    assert run("--resume") == 0
    assert settle_additions() is in_place


def test_two_processes_never_train_in_one_folder(tiny_run, only_error):
    run = tiny_run("run")
    assert run(settings=["epochs=1"]) == 0
    before = {path.name: path.read_bytes() for path in run.out.iterdir()}
    with FileLock(run.out / "run.lock"):
        assert run("--resume", settings=["epochs=1"]) == 1
        assert "another process trains in" in only_error()
    assert {path.name: path.read_bytes() for path in run.out.iterdir()} == before
    assert run("--resume", settings=["epochs=1"]) == 0


def test_the_attention_starts_anew_at_its_epoch(tiny_run):
    settings = ["query_key_rate=0", "query_key_decay=0", "evaluate_every=1", "ema_decay=0"]
    first = tiny_run("first")
    assert first(settings=[*settings, "epochs=1"]) == 0
    before = first.weights["context.query.weight"]
    keys = {}
    for restart in (0, 1):
        run = tiny_run(str(restart))
        assert run(settings=[*settings, "epochs=2", f"attention_restart={restart}"]) == 0
        keys[restart] = run.weights["context.key.weight"]
    assert torch.equal(keys[0], before)  # W_q = W_k, and at rate 0 they stay
    assert not torch.allclose(keys[1], before, atol=1e-2)


def test_the_skip_stays_closed_for_its_epochs_and_then_comes_in(tiny_run):
    run = tiny_run("run")
    assert run(settings=["epochs=1", "skip_from=1"]) == 0
    skip_channels = 64  # stage 4 at a width of 8
    head = parameters(run)["head.0.weight"]
    assert not head[:, :skip_channels].any()
    assert head[:, skip_channels:].any()
    opened = tiny_run("opened")
    assert opened(settings=["epochs=2", "skip_from=1", "skip_rate=1"]) == 0
    assert parameters(opened)["head.0.weight"][:, :skip_channels].any()


def test_a_loss_that_is_not_finite_ends_the_run_which_goes_on_with_a_lower_rate(
    tiny_run, in_epoch, monkeypatch, only_error
):
    run = tiny_run("run")

    def spoil():
        monkeypatch.setattr(engine, "segmentation_loss", lambda *_, **__: torch.tensor(torch.nan, requires_grad=True))

    in_epoch(2, spoil)
    assert run() == 1
    message = only_error()
    assert "the loss is nan at step 2" in message and "learning_rate" in message and "--resume" in message
    assert [record["epoch"] for record in run.records] == [1]
    monkeypatch.undo()
    assert run.resume("learning_rate=1e-4") == 0
    rates = [row["learning_rate"] for row in run.curves]
    assert rates[1] == pytest.approx(2e-3 * (5 / 6) ** 0.9) and rates[2] == pytest.approx(1e-4 * (4 / 6) ** 0.9)
    assert run.config["learning_rate"] == 1e-4
    assert run.config["changes"] == [{"after_epoch": 1, "learning_rate": [2e-3, 1e-4]}]
    assert run.resume() == 0  # finished, and what was changed stays so


# --- given weights ---------------------------------------------------------------------------------------------------

# Nothing moves in one such epoch but the statistics of batch norms.
STILL = [
    "epochs=1",
    "learning_rate=0",
    "logit_std=0",
    "ema_decay=0",
    "settling_batches=0",
    "attention_restart=0",
    "largest_class_weight=0",
]


def parameters(run):
    return dict(load_checkpoint(run.out / "model.safetensors")[0].named_parameters())


def test_a_run_starts_from_a_checkpoint_but_for_its_fresh_parts(tiny_run):
    source, anew, still = tiny_run("source"), tiny_run("anew"), tiny_run("still")
    assert source(settings=["epochs=1", "seed=3"]) == 0
    given = [f"start_from={source.out / 'model.safetensors'}", "fresh_parts=context, head"]
    assert anew(settings=STILL) == 0
    assert still(settings=[*STILL, *given]) == 0
    before, fresh, after = parameters(source), parameters(anew), parameters(still)
    for key in after:
        expected = fresh if key.startswith(("context.", "head.")) else before
        assert torch.equal(after[key], expected[key]), key
    assert not torch.equal(after["head.0.weight"], before["head.0.weight"])
    assert not torch.equal(after["fuse.0.weight"], fresh["fuse.0.weight"])


def test_the_main_head_alone_learns_and_a_killed_run_of_it_goes_on_as_it_began(tiny_run, in_epoch, monkeypatch):
    source, whole, cut = tiny_run("source"), tiny_run("whole"), tiny_run("cut")
    assert source(settings=["epochs=1", "seed=3"]) == 0
    settings = [
        *("epochs=2", "model.head_stride=2", "fresh_parts=refine,sharpen", "learning_parts=head,refine,sharpen"),
        *("logit_std=0", "attention_restart=0", "skip_from=0", "largest_class_weight=0"),
        f"start_from={source.out / 'model.safetensors'}",
    ]
    assert whole(settings=settings) == 0
    before, after = source.weights, whole.weights
    learnt = ("head.", "refine.", "sharpen.")
    kept = [name for name in after if not name.startswith(learnt)]
    assert {name for name in before if not name.startswith(learnt)} == set(kept)
    assert all(torch.equal(after[name], before[name]) for name in kept)
    assert after["sharpen.predict.weight"].any() and not torch.equal(after["head.0.weight"], before["head.0.weight"])
    in_epoch(2)
    assert cut(settings=settings) == 130
    monkeypatch.undo()
    assert cut("--resume", settings=settings) == 0
    assert_same_weights(whole.weights, cut.weights)


def test_a_card_keeps_the_trainings_that_its_weights_come_from(tiny_run, in_epoch, monkeypatch):
    first, second, third = tiny_run("first"), tiny_run("second"), tiny_run("third")
    assert first(settings=["epochs=1", "seed=3"]) == 0
    start = f"start_from={first.out / 'model.safetensors'}"
    assert second(settings=["epochs=1", "seed=4", "model.head_stride=4", "fresh_parts=refine", start]) == 0
    card = read_card(second.out / "model.safetensors")
    assert [recipe["seed"] for recipe in recipes_of(card)] == [3, 4]
    assert card["began_with"] == [read_card(first.out / "model.safetensors")["recipe"]]
    assert card["data"].endswith("weights that start from model.safetensors (camvid_dnl, 1 epochs)")
    start = f"start_from={second.out / 'model.safetensors'}"
    settings = ["epochs=2", "seed=5", "model.head_stride=4", start]
    in_epoch(2)
    assert third(settings=settings) == 130
    monkeypatch.undo()
    (second.out / "model.safetensors").unlink()  # what was read at the start is enough to go on
    assert third("--resume", settings=settings) == 0
    assert [recipe["seed"] for recipe in recipes_of(read_card(third.out / "model.safetensors"))] == [3, 4, 5]


def test_weights_to_start_from_that_do_not_fit_are_named(tiny_run, capsys, only_error):
    source = tiny_run("source")
    assert source(settings=["epochs=1"]) == 0
    given = f"start_from={source.out / 'model.safetensors'}"
    for index, (settings, message) in enumerate(
        [
            ([given, "fresh_parts=wings"], "no part 'wings' to start anew; its parts are backbone, reduce, down"),
            (
                [given, "learning_parts=context, head, skip_dropout"],
                "no part 'skip_dropout' to learn; its parts are backbone, reduce, down",
            ),
            (
                [given, "learning_parts=context", "skip_from=1"],
                "skip_from has head start anew, but it would never learn",
            ),
            ([given, "model.width=16"], "does not fit the network: keys of another shape"),
            ([given, "model.context=fcn"], "unexpected context."),
            (["start_from=nosuch"], "there is no checkpoint 'nosuch'"),
            (["backbone_weights=nosuch.pth"], "nosuch.pth could not be read as plain weights"),
            (
                ["frozen_stages=1"],
                "frozen_stages would keep what nothing has learnt; name weights",
            ),
        ]
    ):
        capsys.readouterr()
        assert tiny_run(f"run{index}")(settings=settings) == 1
        assert message in only_error()


def test_a_backbone_starts_from_weights_in_torchvisions_format(tiny_run, tmp_path):
    torch.manual_seed(8)
    config = ModelConfig(backbone="resnet18", width=8, deep_stem=False)
    state = build_model(config).backbone.state_dict()
    names = {"stem.0.": "conv1.", "stem.1.": "bn1.", "stage": "layer"}
    renamed = {}
    for key, tensor in state.items():
        ours = next(prefix for prefix in names if key.startswith(prefix))
        renamed[names[ours] + key.removeprefix(ours)] = tensor
    file = tmp_path / "resnet.safetensors"
    safetensors.torch.save_file({**renamed, "fc.weight": torch.zeros(1)}, file)
    run = tiny_run("run")
    kept = ["frozen_stages=1", "freeze_backbone_norms=true"]
    assert run(settings=[*STILL, *kept, "model.deep_stem=false", f"backbone_weights={file}"]) == 0
    trained = parameters(run)
    card = read_card(run.out / "model.safetensors")
    assert card["recipe"]["backbone_weights"] == "resnet.safetensors"  # its name, not where it lay
    assert card["data"].endswith("a backbone that starts from resnet.safetensors")
    assert torch.equal(trained["backbone.stem.0.weight"], state["stem.0.weight"].half().float())
    assert torch.equal(trained["backbone.stage4.1.conv2.weight"], state["stage4.1.conv2.weight"].half().float())


def test_averaged_weights_of_a_short_run_are_no_worse_than_the_last_ones(tiny_run):
    average, last = tiny_run("average"), tiny_run("last")
    settings = ["epochs=12", "evaluate_every=12", "learning_rate=5e-3", "settling_batches=4", "skip_from=0"]
    assert average(settings=settings) == 0
    assert last(settings=[*settings, "ema_decay=0"]) == 0
    assert [row["loss"] for row in average.curves] == [row["loss"] for row in last.curves]
    assert average.records[-1]["miou"] > last.records[-1]["miou"] - 0.01


def test_a_short_run_of_a_recipe_comes_to_all_its_stages(tiny_run, capsys):
    run = tiny_run("run")
    arguments = run.arguments(settings=["epochs=4"])
    for stage in ("warmup_steps=2", "attention_restart=1", "skip_from=1", "epochs=3"):
        place = arguments.index(stage)
        del arguments[place - 1 : place + 1]
    assert main(arguments) == 0
    assert (run.config["attention_restart"], run.config["skip_from"]) == (1, 2)
    assert "the run has" not in capsys.readouterr().out.replace("warmup_steps is 10 but the run has 8 updates", "")
    assert parameters(run)["head.0.weight"][:, :64].any()


def test_a_drive_can_be_left_out_and_scored_on(tiny_run, camvid):
    for number, name in enumerate(("0001TP_006690", "0001TP_006720", "0006R0_f00930", "0016E5_00390")):
        for folder in ("train", "trainannot"):
            (camvid / folder / f"{number}.png").rename(camvid / folder / f"{name}.png")
    shutil.rmtree(camvid / "val")  # which is not needed then
    run = tiny_run("run")
    assert run(settings=["epochs=1", "dev_group=0006R0"]) == 0
    settings = json.loads((run.out / "config.json").read_text())
    assert settings["dev_group"] == "0006R0"
    assert [settings["data"][split]["images"] for split in ("train", "val")] == [3, 1]
    card = read_card(run.out / "model.safetensors")
    assert card["recipe"]["dev_group"] == "0006R0" and card["data"] == "CamVid train without 0006R0 (3 images)"
    assert card["chosen_on"] == {"dataset": "camvid", "split": "dev:0006R0", "images": 1}


def test_a_drive_that_is_not_there_is_said_before_the_run_begins(tiny_run, only_error):
    run = tiny_run("run")
    assert run(settings=["dev_group=0006R0"]) == 1
    assert "train has no group '0006R0'; it has unknown drive (4 images)" in only_error()
