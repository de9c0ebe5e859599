"""Two processes against one, and runs that are killed: real processes on small data."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dnl.checkpoints import load_checkpoint, save_checkpoint
from dnl.datasets import CamVid
from dnl.network import build_model
from dnl.training.config import override
from dnl.training.recipes import recipe
from tests.warm import start

ROOT = Path(__file__).parents[2]
SETTINGS = [
    "model.width=8",
    "model.head_dropout=0",
    "model.skip_dropout=0",
    "ohem_threshold=0.3",
    "epochs=3",
    "batch_size=4",
    "crop_height=40",
    "crop_width=56",
    "workers=0",
    "streets_per_epoch=0",
    "freeze_norms=true",
    "precision=float32",
    "evaluate_every=3",
    "warmup_steps=2",
]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    """Sixteen tiny labelled images a split, in CamVid's layout; five in val, so that two processes share unevenly."""
    rng = np.random.default_rng(1)
    root = tmp_path_factory.mktemp("camvid")
    for split, count in (("train", 16), ("val", 5)):
        (root / split).mkdir()
        (root / f"{split}annot").mkdir()
        for index in range(count):
            labels = np.repeat(np.repeat(rng.integers(0, 12, (4, 5), np.uint8), 12, 0), 12, 1)
            image = np.stack([labels * 20, 255 - labels * 20, labels * 7], axis=2)
            Image.fromarray(image).save(root / split / f"{index:02}.png")
            Image.fromarray(labels).save(root / f"{split}annot" / f"{index:02}.png")
    return root


def options(camvid, out, *extra, settings=SETTINGS):
    sets = [part for setting in settings for part in ("--set", setting)]
    return ["--recipe", "camvid_dnl", "--data", str(camvid), "--out", str(out), *sets, *extra]


def records(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_train_and_score_like_one(camvid, tmp_path):
    alone = start("dnl.train", options(camvid, tmp_path / "1"), tmp_path / "errors")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "dnl.train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*torchrun, *options(camvid, tmp_path / "2")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    alone.join()
    assert alone.exitcode == 0, (tmp_path / "errors").read_text()
    one, two = records(tmp_path / "1"), records(tmp_path / "2")
    assert [record["loss"] for record in two] == pytest.approx([record["loss"] for record in one], abs=1e-4)
    assert two[-1]["miou"] == pytest.approx(one[-1]["miou"], abs=2e-3)


def test_two_processes_train_a_part_of_a_network(camvid, tmp_path):
    """Gradients of the learning parts alone are exchanged."""
    first = tmp_path / "start.safetensors"
    model = build_model(override(recipe("camvid_dnl"), SETTINGS).model)
    model.label_set = CamVid.label_set
    save_checkpoint(first, model, {})
    parts = ["learning_parts=head", f"start_from={first}", "logit_std=0", "attention_restart=0", "skip_from=0"]
    arguments = options(camvid, tmp_path / "run", settings=[*SETTINGS, *parts, "epochs=1", "evaluate_every=1"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    processes = [
        start("dnl.train", arguments, tmp_path / rank, {**address, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"
    ]
    for rank, process in enumerate(processes):
        process.join()
        assert process.exitcode == 0, (tmp_path / str(rank)).read_text()
    before, after = (load_checkpoint(file)[0].state_dict() for file in (first, tmp_path / "run" / "model.safetensors"))
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert "head.0.weight" in changed and all(name.startswith("head.") for name in changed)


def progress(out):
    """Whether a run has begun in `out`, and the seconds of each finished epoch."""
    lines = records(out) if (out / "metrics.jsonl").exists() else []
    return (out / "config.json").exists(), [record["seconds"] for record in lines]


def test_a_run_killed_again_and_again_ends_with_the_same_weights(camvid, tmp_path):
    settings = [*SETTINGS, "epochs=8", "evaluate_every=8"]
    errors = tmp_path / "errors"
    undisturbed = start("dnl.train", options(camvid, tmp_path / "whole", settings=settings), errors)
    undisturbed.join()
    assert undisturbed.exitcode == 0, errors.read_text()
    out, rng = tmp_path / "killed", np.random.default_rng(0)
    kills = 0
    for _ in range(12):
        resume = ["--resume"] if (out / "config.json").exists() else []
        process = start("dnl.train", options(camvid, out, *resume, settings=settings), errors)
        # At any moment of the two epochs after its beginning, then of those after the next finished one.
        before = progress(out)
        while process.is_alive() and (kills == 2 or progress(out) == before):
            time.sleep(0.02)
        if process.is_alive():
            epoch = (progress(out)[1] or [0.5])[-1]
            time.sleep(rng.uniform(0, 2) * epoch)
            process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL, errors.read_text()
        kills += 1
    assert kills
    whole, killed = (load_checkpoint(folder / "model.safetensors")[0] for folder in (tmp_path / "whole", out))
    states = whole.state_dict(), killed.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert [record["epoch"] for record in records(out)] == list(range(1, 9))
