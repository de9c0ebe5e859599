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
import torch

from dnl import files
from dnl.checkpoints import load_checkpoint
from dnl.evaluate import main as evaluate_main
from dnl.training.config import from_dict
from dnl.training.engine import learning_rate
from dnl.training.runs import Update, epoch_seed, read_curves, save_progress

# --- what is in the folder -------------------------------------------------------------------------------------------


def test_a_run_leaves_its_records_and_a_usable_checkpoint(tiny_run, camvid, tmp_path, only_error):
    run = tiny_run("run")
    assert run() == 0
    names = {"config.json", "environment.json", "seeds.json", "metrics.jsonl", "curves.csv", "state.pt"}
    assert {path.name for path in run.out.iterdir()} == names | {"model.safetensors", "run.lock"}
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
    assert "already holds a run" in only_error()


def test_curves_hold_every_update_and_agree_with_the_epochs(tiny_run):
    run = tiny_run("run")
    assert run() == 0
    config = from_dict({key: value for key, value in run.config.items() if key not in ("recipe", "changes", "data")})
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


def test_resuming_refuses_other_settings_an_empty_folder_and_a_broken_state(tiny_run, only_error):
    run = tiny_run("run")
    assert run(settings=["epochs=1"]) == 0
    before = run.config
    assert run.resume("epochs=9") == 1
    assert "other settings" in only_error()
    assert run.resume("learning_rate=1e-3", "model.gate=binary") == 1
    assert "change nothing but learning_rate" in only_error()
    assert run.config == before
    (run.out / "state.pt").write_bytes((run.out / "state.pt").read_bytes()[:1000])
    assert run.resume() == 1
    assert "state.pt cannot be used" in only_error()
    assert tiny_run("empty").resume() == 1
    assert "no run to resume" in only_error()


def test_a_run_of_an_earlier_version_goes_on(tiny_run, in_epoch, monkeypatch):
    run = tiny_run("run")
    in_epoch(2)
    assert run() == 130
    monkeypatch.undo()
    fields = run.config
    for added in ("changes", "data", "ohem_threshold", "ohem_least", "backbone_weights"):
        del fields[added]
    (run.out / "config.json").write_text(json.dumps(fields))
    (run.out / "curves.csv").unlink()
    assert run.resume() == 0
    assert [record["epoch"] for record in run.records] == [1, 2, 3]
    assert [row["step"] for row in run.curves] == [3, 4, 5, 6]


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("model.safetensors", errno.ENOSPC),
        ("metrics.jsonl", errno.EACCES),
        ("curves.csv", errno.ENOSPC),
        ("state.pt", errno.EACCES),
    ],
)
def test_a_disk_that_is_full_or_closed_in_the_second_epoch(name, code, tiny_run, in_epoch, monkeypatch, only_error):
    settings = ["evaluate_every=1", "settling_batches=0"]
    run = tiny_run("run")
    replace = os.replace

    def fail_to_replace(source, target):
        if Path(target).name == name:
            raise OSError(code, os.strerror(code), str(target))
        replace(source, target)

    in_epoch(2, lambda: monkeypatch.setattr(files.os, "replace", fail_to_replace))
    assert run(settings=settings) == 1
    message = only_error()
    assert os.strerror(code) in message and message.endswith("go on with --resume")
    assert len(torch.load(run.out / "state.pt", weights_only=True)["history"]) == 1
    assert not list(run.out.glob(".*"))
    monkeypatch.undo()
    assert run.resume() == 0
    assert [record["epoch"] for record in run.records] == [1, 2, 3]
    assert [row["step"] for row in run.curves] == [1, 2, 3, 4, 5, 6]
    load_checkpoint(run.out / "model.safetensors")


@pytest.mark.parametrize("evaluate_every", [1, 9], ids=["checkpoint", "state"])
def test_a_disk_that_takes_no_more_bytes(evaluate_every, tiny_run, in_epoch, monkeypatch, only_error):
    # The system's own limit on the size of a file: torch and safetensors meet it in their writers.
    run = tiny_run("run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    in_epoch(2, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1])))
    try:
        code = run(settings=[f"evaluate_every={evaluate_every}"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    message = only_error()
    assert os.strerror(errno.EFBIG) in message and "go on with --resume" in message
    monkeypatch.undo()
    assert run.resume() == 0
    assert [record["epoch"] for record in run.records] == [1, 2, 3]


def test_a_folder_that_cannot_be_made(tiny_run, tmp_path, only_error):
    (tmp_path / "file").write_text("in the way")
    assert tiny_run("file/run")() == 1
    message = only_error()
    assert "cannot be made" in message and message.endswith("choose another --out")
    assert (tmp_path / "file").read_text() == "in the way"


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
    in_epoch(2)  # one more epoch will do
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
def test_what_does_not_fit_is_said_before_the_folder_is_a_run_s(wrong, message, tiny_run, tmp_path, only_error):
    run = tiny_run("run")
    data, run.data = run.data, tmp_path / wrong.get("data", run.data)
    assert run(settings=wrong.get("settings", ())) == 1
    assert message in only_error()
    assert not list(run.out.iterdir())
    run.data = data
    assert run(settings=["epochs=1"]) == 0, "the same command, put right, starts the run"


def test_a_state_that_is_another_network_s_is_one_sentence(tiny_run, capsys, only_error):
    run = tiny_run("run")
    assert run(settings=["epochs=1"]) == 0
    state = torch.load(run.out / "state.pt", weights_only=True)
    torch.save(state | {"model": {}}, run.out / "state.pt")
    capsys.readouterr()
    assert run.resume() == 1
    assert "state.pt cannot be used" in only_error()
