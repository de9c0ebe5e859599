"""Our predictions scored by Cityscapes' own scripts, and by dnl.evaluate: python -m tests.soak.cityscapes

Makes a small folder in Cityscapes' layout and an untrained network, writes predictions with dnl.predict, and has the
published cityscapesScripts evaluate them. Exit code 0 if IoU of each class and their mean are those of dnl.evaluate.
The scripts need an old NumPy, and get an environment of their own (--environment for one that is there; --python for
another Python to make it with, at most 3.11).
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dnl.checkpoints import save_checkpoint
from dnl.classes import CITYSCAPES
from dnl.datasets import Cityscapes
from dnl.network import ModelConfig, build_model
from dnl.transforms import normalise

ROOT = Path(__file__).parents[2]
NEEDED = ("cityscapesscripts==2.2.4", "numpy==1.23.5", "pillow==10.0.1", "matplotlib==3.7.5")
EVALUATE = "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"
HEIGHT, WIDTH, BLOCK = 96, 160, 8
# Objects have an instance id of 1000 times their label id and a number, from this label id on.
FIRST_OBJECT = 24


def make_data(root: Path) -> None:
    """Frames of two cities with random blocks of all label ids, and colours that tell them."""
    rng = np.random.default_rng(0)
    colour_of = rng.integers(0, 256, (34, 3), np.uint8)
    for number, city in enumerate(("aachen", "aachen", "ulm", "ulm", "ulm")):
        name = f"{city}_{number:06}_000019"
        ids = np.kron(rng.integers(0, 34, (HEIGHT // BLOCK, WIDTH // BLOCK)), np.ones((BLOCK, BLOCK), int))
        pictures = {
            f"leftImg8bit/val/{city}/{name}_leftImg8bit.png": colour_of[ids],
            f"gtFine/val/{city}/{name}_gtFine_labelIds.png": ids.astype(np.uint8),
            f"gtFine/val/{city}/{name}_gtFine_instanceIds.png": np.where(ids < FIRST_OBJECT, ids, 1000 * ids).astype(
                np.uint16
            ),
        }
        for place, pixels in pictures.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / place)


def make_network(file: Path, data: Path) -> None:
    """An untrained network, its norms settled on the images, so that its predictions differ from place to place."""
    torch.manual_seed(0)
    model = build_model(ModelConfig("resnet18", 16, CITYSCAPES.num_classes, attention_stride=8, gamma_init=1.0))
    model.label_set = CITYSCAPES
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(torch.stack([normalise(sample.image) for sample in Cityscapes(data, "val")]))
    save_checkpoint(file, model.eval(), {})


def run(*command: str | Path, **environment: str) -> None:
    subprocess.run(list(map(str, command)), cwd=ROOT, env={**os.environ, **environment}, check=True)


def environment_at(folder: Path, python: str) -> Path:
    """An environment with the scripts; its Python."""
    run(python, "-m", "venv", folder)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", *NEEDED)
    return folder / "bin" / "python"


def differences(ours: dict, theirs: dict) -> list[str]:
    """What differs between the scores, beyond the last bit of a sum."""
    pairs = {"mean": (ours["miou"], theirs["averageScoreClasses"])}
    for name in CITYSCAPES.class_names:
        pairs[name] = (ours["iou"].get(name, math.nan), theirs["classScores"][name])
    same = {name: math.isclose(*pair, rel_tol=1e-12) or all(map(math.isnan, pair)) for name, pair in pairs.items()}
    return [f"{name}: {pairs[name][0]} here, {pairs[name][1]} there" for name in pairs if not same[name]]


def main() -> int:
    parser = argparse.ArgumentParser(description="Have Cityscapes' own scripts score our predictions.")
    parser.add_argument("--python", default=sys.executable, help="makes the scripts' environment")
    parser.add_argument("--environment", type=Path, help="one with cityscapesScripts, instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, network, out = folder / "data", folder / "network.safetensors", folder / "out"
        make_data(data)
        make_network(network, data)
        split = ("--checkpoint", network, "--dataset", "cityscapes", "--data", data)
        run(sys.executable, "-m", "dnl.predict", *split, "--out", out)
        run(sys.executable, "-m", "dnl.evaluate", *split, "--json", folder / "ours.json")
        python = (
            options.environment / "bin" / "python"
            if options.environment
            else environment_at(folder / "environment", options.python)
        )
        places = {
            "CITYSCAPES_DATASET": str(data),
            "CITYSCAPES_RESULTS": str(out / "labels"),
            "CITYSCAPES_EXPORT_DIR": str(folder),
            "MPLBACKEND": "agg",
        }
        run(python, "-m", EVALUATE, **places)
        ours = json.loads((folder / "ours.json").read_text(encoding="utf-8"))
        theirs = json.loads((folder / "resultPixelLevelSemanticLabeling.json").read_text(encoding="utf-8"))
    found = differences(ours, theirs)
    print(f"mean IoU {ours['miou']!r} here, {theirs['averageScoreClasses']!r} there")
    print("\n".join(found) or f"equal, for {len(ours['iou'])} classes and their mean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
