"""A small model and labelled samples, for the tests of this room."""

import numpy as np
import torch

from dnl import ModelConfig, build_model
from dnl.classes import CAMVID
from dnl.datasets import Origin, Sample

CONFIG = ModelConfig(backbone="resnet18", width=8, num_classes=11, attention_stride=8, gamma_init=0.5)
SIZE = (40, 72)


def make_model(config=CONFIG):
    torch.manual_seed(0)
    model = build_model(config).eval()
    model.label_set = CAMVID
    return model


def make_samples(count=3):
    rng = np.random.default_rng(0)
    samples = []
    for index in range(count):
        coarse = rng.choice([0, 1, 3, 5, 11], (5, 9)).astype(np.uint8)
        labels = np.kron(coarse, np.ones((8, 8), np.uint8))
        samples.append(Sample(rng.integers(0, 256, (*SIZE, 3), np.uint8), labels, f"scene-{index}"))
    return samples


class Dataset(list):
    label_set = CAMVID

    @property
    def origins(self):
        """Two drives, which take turns."""
        return [Origin(("a", "b")[index % 2], index) for index in range(len(self))]
