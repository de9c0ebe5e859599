"""The example's file: weights in half precision, and a card that says what they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from analysis.examples.transformer import VisionTransformer

FILE = Path(__file__).parent / "vision-transformer.safetensors"


def vision_transformer() -> VisionTransformer:
    """The trained example in evaluation mode, float32: images B×3×H×W from `dnl.transforms.normalise` -> logits.

    Its attention modules are `blocks.0.attn` … `blocks.4.attn`, four heads each. Classes: `read_card()["classes"]`.
    """
    model = VisionTransformer(**read_card()["network"])
    model.load_state_dict(safetensors.torch.load_file(FILE))  # copied into float32
    return model.eval()


def read_card() -> dict[str, Any]:
    """What the example is: its `network`, `classes`, `ignore_index`, `training`, `licence` and `measured` figures."""
    with safetensors.safe_open(FILE, "pt") as file:
        return json.loads(file.metadata()["card"])


def save_example(path: str | Path, state: Mapping[str, Tensor], card: dict[str, Any]) -> None:
    """Write the weights of a VisionTransformer, its matrices in float16, and the card."""
    halved = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in state.items()}
    content = {name: tensor.contiguous() for name, tensor in halved.items()}
    safetensors.torch.save_file(content, path, {"card": json.dumps(card, ensure_ascii=False)})
