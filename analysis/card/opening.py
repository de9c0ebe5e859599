"""A checkpoint file as a user brings it: bytes in, a network and its card out, or one clear sentence."""

import tempfile
from pathlib import Path

from analysis.card.view import view_card
from dnl.checkpoints import SUFFIX, CheckpointError, load_checkpoint
from dnl.network import SegmentationNetwork

# A window of LR takes one pass over the map for each of its cells.
LARGEST_LR_KERNEL = 15


def open_checkpoint(data: bytes, name: str, *, most_bytes: int) -> tuple[SegmentationNetwork, dict]:
    """The network (evaluation mode) and card in a safetensors file of this project; nothing in it is executed.

    name: what the user calls the file, for messages. Raises CheckpointError.
    """
    if len(data) > most_bytes:
        raise CheckpointError(
            f"{name} has {len(data) / 1e6:.1f} MB, and at most {most_bytes / 1e6:.1f} MB can be opened"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{Path(name).stem[:80] or 'model'}{SUFFIX}"
        path.write_bytes(data)
        network, card = load_checkpoint(path)
    if network.config.lr_kernel > LARGEST_LR_KERNEL:
        raise CheckpointError(
            f"the card in {name} asks for an LR window of {network.config.lr_kernel} cells, and at most "
            f"{LARGEST_LR_KERNEL} can be shown"
        )
    view_card(card)  # raises where the pages could not show it
    return network, card
