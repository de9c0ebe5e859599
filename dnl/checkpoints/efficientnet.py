"""Weights of EfficientNet-Lite0 in the namings of others: of the package efficientnet_lite_pytorch, and timm's."""

import re
from collections.abc import Mapping

from torch import Tensor

from dnl.network.efficientnet import STAGES

# What each of our parts is called: in the package, in timm, and in timm's blocks without an expansion.
_PARTS = {
    "expand.0": ("_expand_conv", "conv_pw", None),
    "expand.1": ("_bn0", "bn1", None),
    "depthwise.0": ("_depthwise_conv", "conv_dw", "conv_dw"),
    "depthwise.1": ("_bn1", "bn2", "bn1"),
    "project.0": ("_project_conv", "conv_pwl", "conv_pw"),
    "project.1": ("_bn2", "bn3", "bn2"),
}
_STEMS = {"_conv_stem": "stem.0", "_bn0": "stem.1", "conv_stem": "stem.0", "bn1": "stem.1"}
CLASSIFIERS = ("_conv_head.", "_fc.", "conv_head.", "bn2.", "classifier.")


def is_efficientnet(state: Mapping[str, Tensor]) -> bool:
    """Whether the weights are named as an EfficientNet's."""
    return "_conv_stem.weight" in state or "conv_stem.weight" in state


def renamed(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights by our names, and the keys of the classifier, which have no place in a backbone."""
    package = "_conv_stem.weight" in state
    places = [
        (f"_blocks.{number}." if package else f"blocks.{run}.{index}.", f"stage{stage}.{inside}.", expansion > 1)
        for number, (run, index, stage, inside, expansion) in enumerate(_blocks())
    ]
    ours, left_out = {}, []
    for name, tensor in state.items():
        stem = re.match(r"(_conv_stem|_bn0|conv_stem|bn1)\.", name)
        if name.startswith(CLASSIFIERS) or (package and name.startswith("_bn1.")):
            left_out.append(name)
            continue
        if stem:
            ours[_STEMS[stem[1]] + name[stem.end() - 1 :]] = tensor
            continue
        found = next((place for place in places if name.startswith(place[0])), None)
        part, _, rest = name.removeprefix(found[0] if found else "").rpartition(".")
        column = 0 if package else 1 if found is None or found[2] else 2
        own = next((mine for mine, theirs in _PARTS.items() if theirs[column] == part), None)
        ours[f"{found[1]}{own}.{rest}" if found and own else name] = tensor
    return ours, left_out


def _blocks() -> list[tuple[int, int, int, int, int]]:
    """Of each block: its run, its place in the run, its stage, its place in the stage, and its expansion."""
    found, run = [], 0
    for stage, runs in enumerate(STAGES, start=1):
        inside = 0
        for _, _, expansion, _, count in runs:
            for index in range(count):
                found.append((run, index, stage, inside, expansion))
                inside += 1
            run += 1
    return found
