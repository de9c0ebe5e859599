"""Kill dnl.predict again and again, and compare: python -m tests.soak.kill_predictions [--kills 10]

Predicts small photos twice: once undisturbed, once killed (SIGKILL) at random moments and run again. After every kill
each file that stands under its own name must be the whole one. In the end both folders must hold the same files, byte
for byte, and nothing else. Exit code 0 if they do. Takes minutes, so it is no part of the test suite.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dnl.checkpoints import save_checkpoint
from dnl.classes import CAMVID
from dnl.network import ModelConfig, build_model
from tests.soak.kills import run_with_kills

ROOT = Path(__file__).parents[2]
PHOTOS, SIZE = 600, (96, 128)


def make_inputs(folder: Path) -> list[str]:
    """Random photos and a small network; the command that predicts them, but for its --out."""
    torch.manual_seed(0)
    model = build_model(ModelConfig("resnet18", 8, CAMVID.num_classes, gamma_init=0.5)).eval()
    model.label_set = CAMVID
    save_checkpoint(folder / "network.safetensors", model, {})
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        picture = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize(SIZE[::-1])
        picture.save(folder / "photos" / f"{number:03}.jpg")
    given = ("--checkpoint", folder / "network.safetensors", "--data", folder / "photos", "--confidence")
    return [sys.executable, "-m", "dnl.predict", *map(str, given)]


def files_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def predict_with_kills(command: list[str], out: Path, kills: int, window: float, whole: dict[str, bytes]) -> int:
    """Predict to the end, killed up to `kills` times, each up to `window` seconds after the first new file."""

    def start() -> subprocess.Popen:
        return subprocess.Popen([*command, "--out", str(out)], cwd=ROOT, stderr=subprocess.PIPE)

    def wait(process: subprocess.Popen, hits: int) -> None:
        before = len(files_of(out)) if out.exists() else 0
        while process.poll() is None and (not out.exists() or len(files_of(out)) <= before):
            time.sleep(0.005)

    def look(hits: int) -> None:
        found = files_of(out)
        torn = [name for name, content in found.items() if not name.endswith(".tmp") and whole[name] != content]
        left = sum(name.endswith(".tmp") for name in found)
        print(f"killed {hits} times, {len(found)} files of {len(whole)}, {left} begun, {len(torn)} torn", flush=True)
        if torn:
            raise SystemExit(f"torn: {', '.join(torn)}")

    return run_with_kills(start, wait, look, kills=kills, window=window, seed=0)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill dnl.predict at random moments and compare the files.")
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = make_inputs(folder)
        started = time.monotonic()
        predict_with_kills(command, folder / "whole", 0, 0, {})
        window = (time.monotonic() - started) / (options.kills + 1)  # so that half of the work is left for the last
        whole = files_of(folder / "whole")
        hits = predict_with_kills(command, folder / "killed", options.kills, window, whole)
        same = files_of(folder / "killed") == whole
    print(f"{hits} kills; {'the same' if same else 'other'} {len(whole)} files")
    return 0 if same and hits == options.kills else 1


if __name__ == "__main__":
    sys.exit(main())
