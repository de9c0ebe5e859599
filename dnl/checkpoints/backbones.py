"""Weights of backbones in the namings of others: torchvision's."""

from pathlib import Path

from dnl.checkpoints.file import load_strictly, plain_state
from dnl.network import SegmentationNetwork


def load_torchvision_backbone(path_or_url: str | Path, model: SegmentationNetwork) -> list[str]:
    """Load ImageNet ResNet weights in torchvision's format into the backbone, strictly.

    path_or_url: a local file (.pth read as plain tensors, or .safetensors) or an http(s) address, which is
    downloaded to torch's cache. The classifier `fc.*` has no place here: the keys left out are returned. Needs a
    model with `deep_stem=False` and width 64. Raises CheckpointError.
    """
    state, source = plain_state(path_or_url)
    left_out = [key for key in state if key.startswith("fc.")]
    renamed = {_from_torchvision(key): tensor for key, tensor in state.items() if key not in left_out}
    for key, tensor in model.backbone.state_dict().items():
        if key.endswith("num_batches_tracked"):  # older files have none, and nothing depends on it
            renamed.setdefault(key, tensor)
    load_strictly(model.backbone, renamed, source)
    return left_out


def _from_torchvision(key: str) -> str:
    for theirs, ours in (("conv1.", "stem.0."), ("bn1.", "stem.1."), ("layer", "stage")):
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key
