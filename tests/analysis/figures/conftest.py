"""A small network and a folder with a photo, its labels and a recipe, for the tests of this room."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dnl import ModelConfig, build_model
from dnl.checkpoints import file as checkpoints
from dnl.checkpoints import save_checkpoint
from dnl.classes import CAMVID
from tests.analysis.figures.small import FILE_SIZE, VALUES, write


@pytest.fixture(scope="session")
def zoo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    torch.manual_seed(0)
    for name, context in (("small", "dnl"), ("blind", "fcn")):
        model = build_model(ModelConfig("resnet18", 8, 11, context=context, attention_stride=8, gamma_init=0.5))
        model.label_set = CAMVID
        save_checkpoint(folder / f"{name}.safetensors", model, {"name": name})
    return folder


@pytest.fixture
def folder(tmp_path, zoo, monkeypatch) -> Path:
    """A folder with a photo, its labels and a recipe of both."""
    monkeypatch.setattr(checkpoints, "ZOO", zoo)
    monkeypatch.delenv("DNL_CHECKPOINTS", raising=False)
    monkeypatch.delenv("DNL_DATA", raising=False)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (*FILE_SIZE, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    labels = np.kron(rng.integers(0, 3, (6, 8)), np.ones((8, 8), int)).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    write(tmp_path, VALUES)
    return tmp_path
