"""A checkpoint file as a user brings it: bytes in, a network and its card out, or one clear sentence."""

import tempfile
from pathlib import Path

import torch

from analysis.model_cards import view_card
from dnl.checkpoints import SUFFIX, CheckpointError, load_checkpoint, read_card
from dnl.config import ModelConfig
from dnl.network import SegmentationNetwork, build_model

# Weights are stored in at least this many bytes each.
LEAST_BYTES_A_WEIGHT = 2
# A window of LR takes one pass over the map for each of its cells.
LARGEST_LR_KERNEL = 15


def open_checkpoint(data: bytes, name: str, *, most_bytes: int) -> tuple[SegmentationNetwork, dict]:
    """The network (evaluation mode) and card in a safetensors file of this project; nothing in it is executed.

    name: what the user calls the file, for messages. The network that the card describes is built only where the
    file is large enough to hold it. Raises CheckpointError.
    """
    if len(data) > most_bytes:
        raise CheckpointError(
            f"{name} has {len(data) / 1e6:.1f} MB, and at most {most_bytes / 1e6:.1f} MB can be opened"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{Path(name).stem[:80] or 'model'}{SUFFIX}"
        path.write_bytes(data)
        card = read_card(path)
        _check_size(card["config"], len(data), name)
        view_card(card)
        return load_checkpoint(path)


def _check_size(fields: dict, size: int, name: str) -> None:
    """Raise CheckpointError unless a file of `size` bytes can hold the network that its card describes."""
    try:
        config = ModelConfig(**fields)
        with torch.device("meta"):  # counts the weights without a place for them
            weights = sum(parameter.numel() for parameter in build_model(config).parameters())
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the card in {name} does not describe a network of this version: {str(error).splitlines()[0]}"
        ) from error
    if weights * LEAST_BYTES_A_WEIGHT > size:
        raise CheckpointError(
            f"the card in {name} describes a network of {weights:,} weights, more than its {size:,} bytes can hold"
        )
    if config.lr_kernel > LARGEST_LR_KERNEL:
        raise CheckpointError(
            f"the card in {name} asks for an LR window of {config.lr_kernel} cells, and at most "
            f"{LARGEST_LR_KERNEL} can be shown"
        )
