"""The run folder: its files, going on after every kind of end, and runs that start from given weights."""

import csv
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from dnl import files
from dnl.checkpoints import load_checkpoint
from dnl.evaluate import main as evaluate_main
from dnl.files import remove_leftovers, write_atomically
from dnl.network import ModelConfig, build_model
from dnl.training import engine
from dnl.training import run as training
from dnl.training.engine import learning_rate, train_one_epoch
from dnl.training.recipes import from_dict
from dnl.training.runs import Update, epoch_seed, read_curves, save_progress


def assert_same_weights(one, two):
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def only_error(capsys):
    """What was printed as an error, of which there must be one line."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error:", "interrupted"))]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def in_epoch(monkeypatch):
    """in_epoch(number, act): `act` is called at the start of that epoch (from 1) of every run until it is undone."""

    def arrange(number, act):
        calls = []

        def observed(*args, **kwargs):
            calls.append(1)
            if len(calls) == number:
                act()
            return train_one_epoch(*args, **kwargs)

        monkeypatch.setattr(training, "train_one_epoch", observed)

    return arrange


# --- what is in the folder -------------------------------------------------------------------------------------------


def test_a_run_leaves_its_records_and_a_usable_checkpoint(tiny_run, camvid, tmp_path, capsys):
    run = tiny_run("run")
    assert run() == 0
    names = {"config.json", "environment.json", "seeds.json", "metrics.jsonl", "curves.csv", "state.pt"}
    assert {path.name for path in run.out.iterdir()} == names | {"model.safetensors"}
    assert [record["epoch"] for record in run.records] == [1, 2, 3]
    assert all(np.isfinite(record["loss"]) for record in run.records)
    _, card = load_checkpoint(run.out / "model.safetensors")
    assert card["recipe"]["epochs"] == 3
    assert "research" in card["licence"]
    scores = tmp_path / "scores.json"
    arguments = ["--checkpoint", str(run.out / "model.safetensors"), "--dataset", "camvid", "--data", str(camvid)]
    assert evaluate_main([*arguments, "--json", str(scores), "--attention", "mean", "--gamma", "0.2"]) == 0
    assert 0 <= json.loads(scores.read_text())["miou"] <= 1
    assert run() == 1
    assert "already holds a run" in only_error(capsys)


def test_curves_hold_every_update_and_agree_with_the_epochs(tiny_run):
    run = tiny_run("run")
    assert run() == 0
    config = from_dict({key: value for key, value in run.config.items() if key not in ("recipe", "changes")})
    assert [row["step"] for row in run.curves] == [1, 2, 3, 4, 5, 6]
    assert [row["epoch"] for row in run.curves] == [1, 1, 2, 2, 3, 3]
    for index, row in enumerate(run.curves):
        assert row["learning_rate"] == learning_rate(index, 6, config)
    for record in run.records:
        losses = [row["loss"] for row in run.curves if row["epoch"] == record["epoch"]]
        assert record["loss"] == pytest.approx(np.mean(losses), abs=1e-12)


def test_seeds_name_what_each_epoch_draws_from(tiny_run):
    run = tiny_run("run")
    assert run(settings=["seed=5", "epochs=2"]) == 0
    seeds = json.loads((run.out / "seeds.json").read_text())
    assert seeds["seed"] == 5
    assert seeds["dropout_seeds"] == [[epoch_seed(5, 0, 0)], [epoch_seed(5, 1, 0)]]
    assert len({epoch_seed(seed, epoch, rank) for seed in range(3) for epoch in range(3) for rank in range(3)}) == 27


def test_curves_are_read_up_to_an_epoch(tmp_path):
    curves = [Update(1, 1, 0.1 + 0.2, 1e-05), Update(2, 1, 2.5, 3e-4), Update(3, 2, 1 / 3, 1e-3)]
    save_progress(tmp_path, {"history": [{"epoch": 1}, {"epoch": 2}]}, curves)
    assert read_curves(tmp_path / "curves.csv", 2) == curves
    assert read_curves(tmp_path / "curves.csv", 1) == curves[:2]
    assert read_curves(tmp_path / "none.csv", 2) == []
    with (tmp_path / "curves.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["step", "epoch", "loss", "learning_rate"]


# --- going on --------------------------------------------------------------------------------------------------------


def interrupt():
    raise KeyboardInterrupt


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tiny_run, in_epoch, monkeypatch, capsys):
    streets = ["streets_per_epoch=2", "streets_pool=2", "evaluate_every=1"]
    whole, cut = tiny_run("whole"), tiny_run("cut")
    assert whole(settings=streets) == 0
    in_epoch(2, interrupt)
    assert cut(settings=streets) == 130
    assert "go on with --resume" in only_error(capsys)
    monkeypatch.undo()
    (cut.out / ".state.pt.abc.tmp").write_text("half")  # what a killed writer leaves
    assert cut("--resume", settings=streets) == 0
    assert_same_weights(whole.weights, cut.weights)
    assert whole.curves == cut.curves
    assert [record["miou"] for record in whole.records] == [record["miou"] for record in cut.records]
    assert not list(cut.out.glob(".*"))


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


def test_resuming_refuses_other_settings_an_empty_folder_and_a_broken_state(tiny_run, capsys):
    run = tiny_run("run")
    assert run(settings=["epochs=1"]) == 0
    before = run.config
    assert run.resume("epochs=9") == 1
    assert "other settings" in only_error(capsys)
    assert run.resume("learning_rate=1e-3", "model.gate=binary") == 1
    assert "change nothing but learning_rate" in only_error(capsys)
    assert run.config == before
    (run.out / "state.pt").write_bytes((run.out / "state.pt").read_bytes()[:1000])
    assert run.resume() == 1
    assert "state.pt cannot be used" in only_error(capsys)
    assert tiny_run("empty").resume() == 1
    assert "no run to resume" in only_error(capsys)


def test_a_run_of_an_earlier_version_goes_on(tiny_run, in_epoch, monkeypatch):
    run = tiny_run("run")
    in_epoch(2, interrupt)
    assert run() == 130
    monkeypatch.undo()
    fields = run.config
    for added in ("changes", "ohem_threshold", "ohem_least", "backbone_weights"):
        del fields[added]
    (run.out / "config.json").write_text(json.dumps(fields))
    (run.out / "curves.csv").unlink()
    assert run.resume() == 0
    assert [record["epoch"] for record in run.records] == [1, 2, 3]
    assert [row["step"] for row in run.curves] == [3, 4, 5, 6]


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["model.safetensors", "metrics.jsonl", "curves.csv", "state.pt"])
def test_a_disk_that_is_full_or_closed_in_the_second_epoch(name, code, tiny_run, in_epoch, monkeypatch, capsys):
    settings = ["evaluate_every=1", "settling_batches=0"]
    run = tiny_run("run")
    replace = os.replace

    def fail_to_replace(source, target):
        if Path(target).name == name:
            raise OSError(code, os.strerror(code), str(target))
        replace(source, target)

    in_epoch(2, lambda: monkeypatch.setattr(files.os, "replace", fail_to_replace))
    assert run(settings=settings) == 1
    message = only_error(capsys)
    assert os.strerror(code) in message and message.endswith("go on with --resume")
    assert len(torch.load(run.out / "state.pt", weights_only=True)["history"]) == 1
    assert not list(run.out.glob(".*"))
    monkeypatch.undo()
    assert run.resume() == 0
    assert [record["epoch"] for record in run.records] == [1, 2, 3]
    assert [row["step"] for row in run.curves] == [1, 2, 3, 4, 5, 6]
    load_checkpoint(run.out / "model.safetensors")


@pytest.mark.parametrize("evaluate_every", [1, 9], ids=["checkpoint", "state"])
def test_a_disk_that_takes_no_more_bytes(evaluate_every, tiny_run, in_epoch, monkeypatch, capsys):
    # The system's own limit on the size of a file: torch and safetensors meet it in their writers.
    run = tiny_run("run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    in_epoch(2, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1])))
    try:
        code = run(settings=[f"evaluate_every={evaluate_every}"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    message = only_error(capsys)
    assert os.strerror(errno.EFBIG) in message and "go on with --resume" in message
    monkeypatch.undo()
    assert run.resume() == 0
    assert [record["epoch"] for record in run.records] == [1, 2, 3]


def test_a_folder_that_cannot_be_made(tiny_run, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert tiny_run("file/run")() == 1
    message = only_error(capsys)
    assert "cannot be made" in message and message.endswith("choose another --out")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_loss_that_is_not_finite_ends_the_run_which_goes_on_with_a_lower_rate(
    tiny_run, in_epoch, monkeypatch, capsys
):
    run = tiny_run("run")

    def spoil():
        monkeypatch.setattr(engine, "segmentation_loss", lambda *_, **__: torch.tensor(torch.nan, requires_grad=True))

    in_epoch(2, spoil)
    assert run() == 1
    message = only_error(capsys)
    assert "the loss is nan at step 2" in message and "learning_rate" in message and "--resume" in message
    assert [record["epoch"] for record in run.records] == [1]
    monkeypatch.undo()
    assert run.resume("learning_rate=1e-4") == 0
    rates = [row["learning_rate"] for row in run.curves]
    assert rates[1] == pytest.approx(2e-3 * (5 / 6) ** 0.9) and rates[2] == pytest.approx(1e-4 * (4 / 6) ** 0.9)
    assert run.config["learning_rate"] == 1e-4
    assert run.config["changes"] == [{"after_epoch": 1, "learning_rate": [2e-3, 1e-4]}]
    assert run.resume() == 0  # finished, and what was changed stays so


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_is_one_sentence_and_the_run_goes_on(tiny_run, in_epoch):
    run = tiny_run("run")
    settings = ["workers=1", "epochs=10000", "evaluate_every=10000"]  # it is never through before it is interrupted
    process = subprocess.Popen(
        [sys.executable, "-m", "dnl.train", *run.arguments(settings=settings)],
        cwd=Path(__file__).parents[3],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and not (run.out / "state.pt").exists():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group, workers too
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert errors.rstrip().endswith(f"interrupted; every finished epoch is kept in {run.out}: go on with --resume")
    done = len(torch.load(run.out / "state.pt", weights_only=True)["history"])
    in_epoch(2, interrupt)  # one more epoch will do
    assert run.resume() == 130
    assert [record["epoch"] for record in run.records] == list(range(1, done + 2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"data": "nowhere"}, "is missing"),
        ({"settings": ["model.num_classes=5"]}, "add --set model.num_classes=11"),
        ({"settings": ["batch_size=5"]}, "set a smaller batch_size"),
        ({"settings": ["start_from=nosuch"]}, "no checkpoint 'nosuch'"),
    ],
)
def test_what_does_not_fit_is_said_before_the_folder_is_a_run_s(wrong, message, tiny_run, tmp_path, capsys):
    run = tiny_run("run")
    data, run.data = run.data, tmp_path / wrong.get("data", run.data)
    assert run(settings=wrong.get("settings", ())) == 1
    assert message in only_error(capsys)
    assert not list(run.out.iterdir())
    run.data = data
    assert run(settings=["epochs=1"]) == 0, "the same command, put right, starts the run"


def test_a_state_that_is_another_network_s_is_one_sentence(tiny_run, capsys):
    run = tiny_run("run")
    assert run(settings=["epochs=1"]) == 0
    state = torch.load(run.out / "state.pt", weights_only=True)
    torch.save(state | {"model": {}}, run.out / "state.pt")
    capsys.readouterr()
    assert run.resume() == 1
    assert "state.pt cannot be used" in only_error(capsys)


def test_a_checkpoint_that_is_not_there_is_one_sentence(capsys):
    assert evaluate_main(["--checkpoint", "nosuch", "--dataset", "streets"]) == 1
    assert "no checkpoint 'nosuch'" in capsys.readouterr().err


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


def test_weights_to_start_from_that_do_not_fit_are_named(tiny_run, capsys):
    source = tiny_run("source")
    assert source(settings=["epochs=1"]) == 0
    given = f"start_from={source.out / 'model.safetensors'}"
    for index, (settings, message) in enumerate(
        [
            ([given, "fresh_parts=wings"], "no part 'wings' to start anew; its parts are backbone, reduce, down"),
            ([given, "model.width=16"], "does not fit the network: keys of another shape"),
            ([given, "model.context=fcn"], "unexpected context."),
            (["start_from=nosuch"], "there is no checkpoint 'nosuch'"),
            (["backbone_weights=nosuch.pth"], "nosuch.pth could not be read as plain weights"),
        ]
    ):
        capsys.readouterr()
        assert tiny_run(f"run{index}")(settings=settings) == 1
        assert message in only_error(capsys)


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
    assert run(settings=[*STILL, "model.deep_stem=false", f"backbone_weights={file}"]) == 0
    trained = parameters(run)
    assert torch.equal(trained["backbone.stem.0.weight"], state["stem.0.weight"].half().float())
    assert torch.equal(trained["backbone.stage4.1.conv2.weight"], state["stage4.1.conv2.weight"].half().float())


# --- writing files ---------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")

    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, fail)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_only_leftovers_are_removed(tmp_path):
    for name in ("state.pt", "notes.tmp", ".hidden", ".state.pt.x1.tmp"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"state.pt", "notes.tmp", ".hidden"}
