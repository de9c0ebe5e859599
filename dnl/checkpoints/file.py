"""Checkpoints: safetensors files that carry their weights and, as metadata, their card.

A card says what the weights are: network configuration, classes, training recipe, data, licence and measured
figures. Loading is strict: a key that is missing, unexpected or of another shape is an error that names it.
A file may come from a stranger: no file is ever unpickled beyond plain tensors, and no network is built that the file
does not fill.
"""

import dataclasses
import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from dnl.classes import LabelSet
from dnl.files import write_atomically
from dnl.network import ModelConfig, SegmentationNetwork
from dnl.network.model import assemble
from dnl.untrusted import (
    DECODING_ERRORS,
    MAX_NAME_LENGTH,
    is_byte,
    is_colour,
    is_name,
    is_valid_text,
    one_line,
    read_json,
    read_json_object,
    shortened,
)

ZOO = Path(__file__).parents[1] / "zoo"
SUFFIX = ".safetensors"

# A header names every tensor and holds the card: this is far more than the largest network needs.
MAX_HEADER_BYTES = 16 * 2**20


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
    with checkpoint_path(name_or_path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        with path.open("rb") as file:
            start = file.read(8)
            header = file.read(min(int.from_bytes(start, "little"), MAX_HEADER_BYTES))
    except OSError as error:
        raise CheckpointError(f"{path.name} could not be read ({error.strerror})") from error
    return _card_in(start + header, path)


def load_checkpoint(name_or_path: str | Path) -> tuple[SegmentationNetwork, dict]:
    """The network in evaluation mode, float32, and its card. Raises CheckpointError in one sentence."""
    path = checkpoint_path(name_or_path)
    try:
        # Read once and whole: the card belongs to the weights even if the file is replaced meanwhile, and a mapped
        # file that is cut off in use would end the process.
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path.name} could not be read ({error.strerror})") from error
    card = _card_in(content, path)
    try:
        config = ModelConfig(**card["config"])
        label_set = label_set_of(card)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"the card in {path.name} does not describe a network of this version: {one_line(str(error))}"
        ) from error
    try:
        state = safetensors.torch.load(content)
    except DECODING_ERRORS as error:
        raise _unreadable(path, error) from error
    with torch.device("meta"):  # takes no place, however large
        model = assemble(config)
    require_fit(model, state, path.name)
    model.load_state_dict({key: state[key].to(own.dtype) for key, own in model.state_dict().items()}, assign=True)
    model.label_set = label_set
    for key, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path.name} holds values that are not finite numbers in {key!r}; it cannot be used")
        if key.endswith("running_var") and (tensor < 0).any():
            raise CheckpointError(f"{path.name} holds a negative variance in {key!r}; it cannot be used")
    return model.eval(), card


def _card_in(content: bytes, path: Path) -> dict:
    """The card in the header of a safetensors file, of which `content` is the beginning. Raises CheckpointError."""
    try:
        (length,) = struct.unpack_from("<Q", content)
        if length > min(len(content) - 8, MAX_HEADER_BYTES):
            raise ValueError("its header is longer than the file, or far too long")
        header = read_json(content[8 : 8 + length])
        metadata = header.get("__metadata__") or {}
        text = metadata.get("card")
    except (struct.error, ValueError, AttributeError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(text, str):
        raise CheckpointError(f"{path.name} carries no card, so its architecture is unknown; save it with this project")
    try:
        return read_json_object(text, "config", dict)
    except ValueError as error:
        raise CheckpointError(f"the card in {path.name} {error}; save it with this project") from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path.name} is not a readable safetensors file ({_first_line(error)}); it may be cut off")


def label_set_of(card: dict) -> LabelSet:
    """The card's label set; raises ValueError when it does not fit the configuration."""
    fields = card.get("label_set")
    if not isinstance(fields, dict):
        raise ValueError("it names no label set")
    names, palette = fields.get("class_names", []), fields.get("palette", [])
    ignore_index, name = fields.get("ignore_index", 255), fields.get("name", "custom")
    if not isinstance(names, list) or not all(map(is_name, (name, *names))):
        raise ValueError(f"the names of its label set must be texts of 1 … {MAX_NAME_LENGTH} characters")
    if len(set(names)) < len(names):
        raise ValueError("its label set has one class name twice")
    if not isinstance(palette, list) or not all(map(is_colour, palette)):
        raise ValueError("its palette must hold [red, green, blue] in 0 … 255")
    if not is_byte(ignore_index):
        raise ValueError(f"its ignore index is {shortened(ignore_index)}; it must be a whole number in 0 … 255")
    label_set = LabelSet(name, tuple(names), tuple((r, g, b) for r, g, b in palette), ignore_index)
    if label_set.num_classes != card["config"].get("num_classes"):
        raise ValueError(
            f"{label_set.num_classes} class names for {shortened(card['config'].get('num_classes'))} classes"
        )
    return label_set


def load_strictly(module: torch.nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy `state` into `module`; raises CheckpointError where `require_fit` does."""
    require_fit(module, state, source)
    module.load_state_dict(state)


def require_fit(module: torch.nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Raise CheckpointError naming every key of `state` that `module` lacks, misses or has in another shape."""
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
    if complex_ones := [key for key in own if key in state and state[key].is_complex()]:
        problems.append(f"of complex numbers {_some(complex_ones)}")
    if problems:
        raise CheckpointError(f"{source} does not fit the network: keys {'; '.join(problems)}")


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
            state = safetensors.torch.load(Path(source).read_bytes())
        else:
            state = torch.load(source, map_location="cpu", weights_only=True)
    except DECODING_ERRORS as error:
        raise CheckpointError(f"{source} could not be read as plain weights: {_first_line(error)}") from error
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
            if file.is_file() and is_valid_text(file.name):
                known.setdefault(file.stem, file)
    return known


def _stored(tensor: Tensor) -> Tensor:
    return (tensor.half() if tensor.ndim == 4 else tensor).contiguous().clone()


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _some(keys: list[str]) -> str:
    # Keys come out of the file, and may be anything.
    shown = ", ".join(key if key.isprintable() and len(key) <= 80 else f"{key[:80]!a}…" for key in map(str, keys[:3]))
    return shown if len(keys) <= 3 else f"{shown} and {len(keys) - 3} more"
