"""Small untrained networks, and the app on them under Streamlit's own test harness."""

import io
import re
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from safetensors import safe_open
from streamlit.testing.v1 import AppTest

from dnl import ModelConfig, build_model
from dnl.checkpoints import file as checkpoints
from dnl.checkpoints import save_checkpoint
from dnl.classes import CAMVID, LabelSet
from pages.parts.explorer import arrival

APP = Path(__file__).parents[2] / "app.py"


def save_network(
    path: Path,
    context: str = "dnl",
    *,
    label_set: LabelSet = CAMVID,
    stride: int = 16,
    calm: bool = False,
    seed: int = 0,
    **card,
) -> Path:
    """A checkpoint at `path`, named like it. calm: with scores that are smaller than an untrained network's."""
    torch.manual_seed(seed)
    config = ModelConfig("resnet18", 8, label_set.num_classes, context=context, attention_stride=stride, gamma_init=0.5)
    model = build_model(config)
    model.label_set = label_set
    if calm and model.context is not None:
        with torch.no_grad():
            model.context.query.weight *= 0.05
    save_checkpoint(path, model, {"name": path.stem, **card})
    return path


def enlarge(path: Path, factor: float, *layers: str) -> Path:
    """Multiply the weights of layers of the checkpoint at `path`, in float32 and in place."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    state = safetensors.torch.load_file(path)
    for layer in layers:
        state[f"{layer}.weight"] = state[f"{layer}.weight"].float() * factor
    path.write_bytes(safetensors.torch.save(state, metadata))
    return path


def app_on(zoo: Path, monkeypatch, seconds: int = 300) -> AppTest:
    """The app with the checkpoints of `zoo` and no others, not yet run.

    Its harness runs no JavaScript, so that no lens would ever say that it is alive and ask for what comes after it.
    """
    monkeypatch.setattr(arrival, "lens_comes_first", lambda: False)
    monkeypatch.setattr(checkpoints, "ZOO", zoo)
    monkeypatch.delenv("DNL_CHECKPOINTS", raising=False)
    monkeypatch.delenv("DNL_DATA", raising=False)
    return AppTest.from_file(str(APP), default_timeout=seconds)


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


def address(app: AppTest) -> dict[str, str]:
    """The parameters in the address bar."""
    return {name: values[0] if isinstance(values, list) else values for name, values in app.query_params.items()}


def read(markdown: str) -> str:
    """A notice as it is read: without the marks that keep its letters letters."""
    return re.sub(r"\\(.)", r"\1", markdown)
