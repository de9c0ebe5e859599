"""A tiny data set, and training runs on it that take a second or two."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from dnl import train as training
from dnl.checkpoints import load_checkpoint

QUICK = (
    "model.width=8",
    "epochs=3",
    "batch_size=2",
    "crop_height=40",
    "crop_width=56",
    "evaluate_every=3",
    "streets_per_epoch=0",
    "workers=0",
    "warmup_steps=2",
    "attention_restart=1",
    "skip_from=1",
    "settling_batches=2",
    "precision=float32",
)


@pytest.fixture
def camvid(tmp_path):
    """Four tiny labelled images a split, in CamVid's layout: colour tells the class."""
    rng = np.random.default_rng(1)
    root = tmp_path / "camvid"
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        (root / f"{split}annot").mkdir()
        for index in range(4):
            labels = np.repeat(np.repeat(rng.integers(0, 12, (4, 5), np.uint8), 12, 0), 12, 1)
            image = np.stack([labels * 20, 255 - labels * 20, labels * 7], axis=2)
            Image.fromarray(image).save(root / split / f"{index}.png")
            Image.fromarray(labels).save(root / f"{split}annot" / f"{index}.png")
    return root


class TinyRun:
    """A run in the folder `out`; calling it runs the command and returns its exit code."""

    def __init__(self, data, out):
        self.data, self.out = data, out

    def arguments(self, *extra, settings=()):
        sets = [part for setting in [*QUICK, *settings] for part in ("--set", setting)]
        return ["--recipe", "camvid_dnl", "--data", str(self.data), "--out", str(self.out), *sets, *extra]

    def __call__(self, *extra, settings=()):
        return training.main(self.arguments(*extra, settings=settings))

    def resume(self, *settings):
        """Go on as the run was started, with `settings` changed."""
        sets = [part for setting in settings for part in ("--set", setting)]
        return training.main(
            ["--recipe", "camvid_dnl", "--data", str(self.data), "--out", str(self.out), "--resume", *sets]
        )

    @property
    def weights(self):
        return load_checkpoint(self.out / "model.safetensors")[0].state_dict()

    @property
    def records(self):
        return [json.loads(line) for line in (self.out / "metrics.jsonl").read_text().splitlines()]

    @property
    def curves(self):
        with (self.out / "curves.csv").open(newline="") as file:
            return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]

    @property
    def config(self):
        return json.loads((self.out / "config.json").read_text())


@pytest.fixture
def tiny_run(camvid, tmp_path):
    """tiny_run(name) -> TinyRun in a folder of that name."""
    return lambda name: TinyRun(camvid, tmp_path / name)
