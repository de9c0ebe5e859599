"""Kill a training again and again, and compare: python -m tests.soak.kill_and_resume [--kills 20] [--seed 0]

Trains a tiny network on shrunk streets twice: once undisturbed, once killed (SIGKILL) at random moments and resumed.
After every kill whatever checkpoint and state there are must be readable. In the end weights, curves and scores of both
must be equal, bit for bit. Exit code 0 if they are. Takes minutes, so it is no part of the test suite.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from dnl.checkpoints import load_checkpoint
from dnl.datasets import Streets
from tests.soak.kills import run_with_kills

ROOT = Path(__file__).parents[2]
SETTINGS = (
    "model.width=8",
    "batch_size=2",
    "crop_height=40",
    "crop_width=56",
    "evaluate_every=1",
    "streets_per_epoch=0",
    "settling_batches=1",
    "warmup_steps=4",
)
# Every fourth kill may come at any moment after the start; the others only once there is progress, or else a slow
# machine would never get to the end.
EARLY = 4


def make_data(root: Path) -> None:
    """Four streets to train on and one to evaluate on, 48×64 pixels, in CamVid's layout."""
    for split, count in (("train", 4), ("val", 1)):
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
        for scene in Streets(split, count):
            for folder, picture, resampling in (
                (split, scene.image, Image.Resampling.BILINEAR),
                (f"{split}annot", scene.labels, Image.Resampling.NEAREST),
            ):
                Image.fromarray(picture).resize((64, 48), resampling).save(root / folder / f"{scene.name}.png")


def command(data: Path, out: Path, epochs: int) -> list[str]:
    settings = (*SETTINGS, f"epochs={epochs}", f"attention_restart={epochs // 2}")
    sets = [part for setting in settings for part in ("--set", setting)]
    resume = ["--resume"] if (out / "config.json").exists() else []
    options = ["--recipe", "camvid_dnl", "--data", str(data), "--out", str(out), *sets, *resume]
    return [sys.executable, "-m", "dnl.train", *options]


def finished_epochs(out: Path) -> int:
    """According to state.pt; 0 without one. Raises if it or the checkpoint cannot be read."""
    if (out / "model.safetensors").exists():
        load_checkpoint(out / "model.safetensors")
    if not (out / "state.pt").exists():
        return 0
    return len(torch.load(out / "state.pt", weights_only=True)["history"])


def wait_for_progress(process: subprocess.Popen, out: Path) -> None:
    state = out / "state.pt"
    before = state.stat().st_mtime_ns if state.exists() else None
    while process.poll() is None and (state.stat().st_mtime_ns if state.exists() else None) == before:
        time.sleep(0.01)


def train_with_kills(data: Path, out: Path, epochs: int, kills: int, seed: int, window: float) -> int:
    """Train to the end, killed up to `kills` times, each up to `window` seconds after progress; the kills that hit."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            command(data, out, epochs), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def wait(process: subprocess.Popen, hits: int) -> None:
        if hits % EARLY != EARLY - 1:
            wait_for_progress(process, out)

    def look(hits: int) -> None:
        print(f"killed {hits} times, {finished_epochs(out)} of {epochs} epochs are there", flush=True)

    return run_with_kills(start, wait, look, kills=kills, window=window, seed=seed)


def differences(one: Path, two: Path) -> list[str]:
    """What differs between two finished runs."""
    states = [load_checkpoint(out / "model.safetensors")[0].state_dict() for out in (one, two)]
    found = [key for key in states[0] if not torch.equal(states[0][key], states[1][key])]
    saved = [torch.load(out / "state.pt", weights_only=True)["model"] for out in (one, two)]
    found += [f"state {key}" for key in saved[0] if not torch.equal(saved[0][key], saved[1][key])]
    if (one / "curves.csv").read_bytes() != (two / "curves.csv").read_bytes():
        found.append("curves.csv")
    records = [[json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()] for out in (one, two)]
    kept = [[(r["epoch"], r["loss"], r["miou"]) for r in rows] for rows in records]
    return [*found, "metrics.jsonl"] if kept[0] != kept[1] else found


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill a tiny training at random moments and compare the result.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--window", type=float, default=2.0, help="seconds within which a kill comes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, whole, killed = (Path(folder) / name for name in ("data", "whole", "killed"))
        make_data(data)
        train_with_kills(data, whole, options.epochs, 0, options.seed, options.window)
        hits = train_with_kills(data, killed, options.epochs, options.kills, options.seed, options.window)
        found = differences(whole, killed)
    print(f"{hits} kills; " + (f"different: {', '.join(found)}" if found else "identical weights, curves and scores"))
    if hits < options.kills:
        print(f"the training ended before kill {hits + 1} of {options.kills}; give it more --epochs")
    return 1 if found or hits < options.kills else 0


if __name__ == "__main__":
    sys.exit(main())
