"""Weights in the naming of the reference release."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dnl.checkpoints.card import CheckpointError
from dnl.checkpoints.file import load_strictly, plain_state, some_of, with_counts
from dnl.network import SegmentationNetwork

# One layer's two names in the release.
SHORTCUT, TWIN = "down_sample.downsample.", "interp."


def load_reference(
    path_or_state_dict: str | Path | Mapping[str, Any], model: SegmentationNetwork, *, key: str | None = None
) -> None:
    """Load weights in the reference release's naming into `model`, strictly.

    The release keeps the shortcut of `down` twice, as `interp.*` and `down_sample.downsample.*`: both must be there
    and equal. What lies around the weights is taken off as `plain_state` does; key: as there. Raises CheckpointError.
    """
    state, source = plain_state(path_or_state_dict, key)
    counts = {reference_name(name): tensor for name, tensor in with_counts({}, model).items()}
    counts |= {name.replace(SHORTCUT, TWIN): tensor for name, tensor in counts.items() if name.startswith(SHORTCUT)}
    state = {**counts, **state}
    names = {reference_name(name): name for name in model.state_dict()}
    twins = {name.replace(SHORTCUT, TWIN): name for name in names if name.startswith(SHORTCUT)}
    problems = []
    if missing := [name for name in (*names, *twins) if name not in state]:
        problems.append(f"missing {some_of(missing)}")
    if unexpected := [key for key in state if key not in names and key not in twins]:
        problems.append(f"unexpected {some_of(unexpected)}")
    if problems:
        raise CheckpointError(f"{source} does not fit the network: keys {'; '.join(problems)}")
    if differing := [twin for twin, name in twins.items() if not torch.equal(state[twin], state[name])]:
        raise CheckpointError(f"{source}: {differing[0]} differs from {twins[differing[0]]}, which is the same layer")
    load_strictly(model, {names[name]: state[name] for name in names}, source)


# Where each part of the network sits in the reference release; longer prefixes first where one begins another.
_REFERENCE_PREFIXES = (
    ("backbone.stem.7.", "backbone.bn1."),
    ("backbone.stem.", "backbone.conv1."),
    ("backbone.stage", "backbone.layer"),
    ("reduce.", "conv."),
    ("down.", "down_sample."),
    ("context.query.", "dnl.conv1."),
    ("context.key.", "dnl.conv2."),
    ("context.value.", "dnl.conv3."),
    ("context.gamma", "dnl.gamma"),
    ("fuse.", "dnl.conv."),
    ("class_head.", "dnl.conv_out3.conv."),
    ("head.", "conv_out1.conv."),
    ("shallow_head.", "conv_out2.conv."),
)


def reference_name(key: str) -> str:
    """The reference release's name of one of our keys."""
    for ours, theirs in _REFERENCE_PREFIXES:
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return key
