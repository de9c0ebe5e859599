"""A report in which every name is hostile."""

from pathlib import Path

import numpy as np
import torch

from analysis.measure import MeasureOptions
from analysis.report.measuring import measure_sample
from analysis.report.output import Checkpoint, write_report
from dnl import ModelConfig, build_model
from dnl.classes import LabelSet
from dnl.datasets import Sample
from tests.fuzz.corpus import HOSTILE_NAMES


def hostile_report(out: Path) -> Path:
    """Write it to the folder `out`; the page's path."""
    count = len(HOSTILE_NAMES)
    label_set = LabelSet(HOSTILE_NAMES[0], HOSTILE_NAMES, tuple((i, i, i) for i in range(count)), 255)
    torch.manual_seed(0)
    model = build_model(ModelConfig("resnet18", 8, count, attention_stride=8, gamma_init=0.5)).eval()
    model.label_set = label_set
    rng = np.random.default_rng(0)
    images = []
    for name in HOSTILE_NAMES[:2]:
        labels = np.kron(rng.integers(0, count, (5, 9)).astype(np.uint8), np.ones((8, 8), np.uint8))
        images.append(Sample(rng.integers(0, 256, (40, 72, 3), np.uint8), labels, name))
    records = [measure_sample(model, image, MeasureOptions()) for image in images]
    name = HOSTILE_NAMES[1].replace("/", "_")
    checkpoint = Checkpoint(name, out / "x", "0" * 64, label_set, {"context": "dnl"})
    provenance = {"version": "0", "dataset": HOSTILE_NAMES[2], "split": HOSTILE_NAMES[3], "limit": None, "options": {}}
    write_report(out, [checkpoint], {name: records}, images, provenance, min_images=1)
    return out / "report.html"
