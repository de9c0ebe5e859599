"""Checkpoints: safetensors files that carry their weights and, as metadata, their card.

A card says what the weights are: network configuration, classes, training recipe, data, licence and measured
figures. Loading is strict: a key that is missing, unexpected or of another shape is an error that names it.
No file is ever unpickled beyond plain tensors.
"""

import dataclasses
import hashlib
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dnl.classes import LabelSet
from dnl.config import ModelConfig
from dnl.files import write_atomically
from dnl.network import SegmentationNetwork, build_model

ZOO = Path(__file__).parent / "zoo"
SUFFIX = ".safetensors"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says why and what to do."""


def list_checkpoints() -> list[str]:
    """Names of the shipped checkpoints, then of those in the folder that $DNL_CHECKPOINTS names."""
    return list(_known_files())


def checkpoint_path(name_or_path: str | Path) -> Path:
    """The file of a listed name, or the path itself; raises CheckpointError when there is none."""
    known = _known_files()
    path = known.get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        raise CheckpointError(
            f"there is no checkpoint {str(name_or_path)!r}; give a {SUFFIX} file or one of: "
            f"{', '.join(known) or 'none'}"
        )
    return path


def checkpoint_hash(name_or_path: str | Path) -> str:
    """SHA-256 of the file, in hexadecimal."""
    return hashlib.sha256(checkpoint_path(name_or_path).read_bytes()).hexdigest()


def save_checkpoint(path: str | Path, model: SegmentationNetwork, card: dict) -> None:
    """Write weights and card atomically.

    Convolution weights are stored in float16 (half the size, no measurable loss); batch-norm statistics and other
    vectors stay in float32, since running variances can leave float16's range. The card gains the model's config
    and label set.
    """
    card = {**card, "config": dataclasses.asdict(model.config)}
    if model.label_set is not None:
        card["label_set"] = dataclasses.asdict(model.label_set)
    state = {key: _stored(tensor) for key, tensor in model.state_dict().items()}
    metadata = {"card": json.dumps(card, ensure_ascii=False)}
    # Through memory, so that a full disk is an OSError and no error of safetensors' own.
    content = safetensors.torch.save(state, metadata)
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def read_card(name_or_path: str | Path) -> dict:
    """The card alone, without the weights; raises CheckpointError."""
    path = checkpoint_path(name_or_path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is not a readable safetensors file ({error}); it may be cut off") from error
    if "card" not in metadata:
        raise CheckpointError(f"{path.name} carries no card, so its architecture is unknown; save it with this project")
    try:
        card = json.loads(metadata["card"])
    except json.JSONDecodeError as error:
        raise CheckpointError(f"the card in {path.name} is not valid JSON ({error})") from error
    if not isinstance(card, dict) or not isinstance(card.get("config"), dict):
        raise CheckpointError(f"the card in {path.name} names no network configuration")
    return card


def load_checkpoint(name_or_path: str | Path) -> tuple[SegmentationNetwork, dict]:
    """The network in evaluation mode, float32, and its card. Raises CheckpointError in one sentence."""
    path = checkpoint_path(name_or_path)
    card = read_card(path)
    try:
        config = ModelConfig(**card["config"])
        label_set = label_set_of(card)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"the card in {path.name} does not describe a network of this version: {error}"
        ) from error
    try:
        state = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is not a readable safetensors file ({error}); it may be cut off") from error
    model = build_model(config)
    model.label_set = label_set
    load_strictly(model, state, path.name)
    bad = [key for key, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise CheckpointError(f"{path.name} holds values that are not finite numbers in {bad[0]!r}; it cannot be used")
    return model.eval(), card


def label_set_of(card: dict) -> LabelSet:
    """The card's label set; raises ValueError or TypeError when it does not fit the configuration."""
    fields = card.get("label_set")
    if not isinstance(fields, dict):
        raise ValueError("it names no label set")
    label_set = LabelSet(
        name=str(fields["name"]) if "name" in fields else "custom",
        class_names=tuple(map(str, fields.get("class_names", ()))),
        palette=tuple(tuple(map(int, colour)) for colour in fields.get("palette", ())),
        ignore_index=int(fields.get("ignore_index", 255)),
    )
    if label_set.num_classes != card["config"].get("num_classes"):
        raise ValueError(f"{label_set.num_classes} class names for {card['config'].get('num_classes')} classes")
    return label_set


def load_strictly(module: torch.nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy `state` into `module`; raises CheckpointError naming every key that is missing, unexpected or misshapen."""
    own = module.state_dict()
    problems = []
    if missing := [key for key in own if key not in state]:
        problems.append(f"missing {_some(missing)}")
    if unexpected := [key for key in state if key not in own]:
        problems.append(f"unexpected {_some(unexpected)}")
    misshapen = [
        f"{key} ({tuple(state[key].shape)} instead of {tuple(own[key].shape)})"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if misshapen:
        problems.append(f"of another shape {_some(misshapen)}")
    if problems:
        raise CheckpointError(f"{source} does not fit the network: keys {'; '.join(problems)}")
    module.load_state_dict(state)


def load_reference(path_or_state_dict: str | Path | Mapping[str, Tensor], model: SegmentationNetwork) -> None:
    """Load weights in the reference release's naming into `model`, strictly.

    The release keeps the shortcut of `down` twice, as `interp.*` and `down_sample.downsample.*`: both must be there
    and equal. A leading "module." (weights saved under data parallelism) is taken off. Raises CheckpointError.
    """
    state, source = _plain_state(path_or_state_dict)
    state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    names = {reference_name(key): key for key in model.state_dict()}
    shortcut = "down_sample.downsample."
    twins = {name.replace(shortcut, "interp."): name for name in names if name.startswith(shortcut)}
    problems = []
    if missing := [name for name in (*names, *twins) if name not in state]:
        problems.append(f"missing {_some(missing)}")
    if unexpected := [key for key in state if key not in names and key not in twins]:
        problems.append(f"unexpected {_some(unexpected)}")
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


def load_torchvision_backbone(path_or_url: str | Path, model: SegmentationNetwork) -> list[str]:
    """Load ImageNet ResNet weights in torchvision's format into the backbone, strictly.

    path_or_url: a local file (.pth read as plain tensors, or .safetensors) or an http(s) address, which is
    downloaded to torch's cache. The classifier `fc.*` has no place here: the keys left out are returned. Needs a
    model with `deep_stem=False` and width 64. Raises CheckpointError.
    """
    state, source = _plain_state(path_or_url)
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


def _plain_state(source: str | Path | Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], str]:
    """A flat mapping of names to tensors, and what to call it in messages. Runs no code from the file."""
    if isinstance(source, Mapping):
        return source, "the state dict"
    try:
        if str(source).startswith(("https://", "http://")):
            state = torch.hub.load_state_dict_from_url(str(source), map_location="cpu", weights_only=True)
        elif Path(source).suffix == SUFFIX:
            state = safetensors.torch.load_file(source)
        else:
            state = torch.load(source, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{source} could not be read as plain weights: {str(error).splitlines()[0]}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError(f"{source} holds no state dict; it must map names to tensors")
    return state, str(source)


def _known_files() -> dict[str, Path]:
    folders = [ZOO]
    if extra := os.environ.get("DNL_CHECKPOINTS"):
        folders.append(Path(extra))
    known: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.glob(f"*{SUFFIX}")):
            known.setdefault(file.stem, file)
    return known


def _stored(tensor: Tensor) -> Tensor:
    return (tensor.half() if tensor.ndim == 4 else tensor).contiguous().clone()


def _some(keys: list[str]) -> str:
    shown = ", ".join(map(str, keys[:5]))
    return shown if len(keys) <= 5 else f"{shown} and {len(keys) - 5} more"
