"""Checkpoints: safetensors files that carry their weights and, as metadata, their card.

Loading is strict: a key that is missing, unexpected or of another shape is an error that names it.
A file may come from a stranger: no file is ever unpickled beyond plain tensors, and no network is built that the file
does not fill.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from dnl.checkpoints.card import MAX_HEADER_BYTES, CheckpointError, card_in, label_set_of, unreadable
from dnl.checkpoints.kinds import BEGINNING, kind_of
from dnl.files import write_atomically
from dnl.network import ModelConfig, SegmentationNetwork, assemble
from dnl.untrusted import DECODING_ERRORS, first_line, is_valid_text, one_line

ZOO = Path(__file__).parents[1] / "zoo"
SUFFIX = ".safetensors"
# What torch says of a pickled object that is no plain tensor.
PICKLED = "WeightsUnpickler error:"
REFUSED_CLASS = re.compile(r"(?:GLOBAL|[Uu]nsupported class|[Uu]nsupported global:?) ([A-Za-z_]\w*(?:\.\w+)+)")

# Around a state dict: what programs put it under, and what wrappers of a network put before its names.
WRAPPERS = ("state_dict", "model")
DEEPEST = 4  # a file's mappings may lie in one another without end
PARALLEL = "module."
AVERAGED = "n_averaged"  # how many AveragedModel has added up
COMPILED = re.compile(r"(?<![^.])_orig_mod\.")


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
    vectors stay in float32, since running variances can leave float16's range, and so does a convolution that does.
    The card gains the model's config and label set. What torch has put around the network, or a part of it, is taken
    off: torch.compile, DistributedDataParallel, AveragedModel. Raises CheckpointError for what is no network of ours
    and for values that are not finite.
    """
    model = _network_in(model)
    card = {**card, "config": dataclasses.asdict(model.config)}
    if model.label_set is not None:
        card["label_set"] = dataclasses.asdict(model.label_set)
    state = {COMPILED.sub("", key): _stored(key, tensor) for key, tensor in model.state_dict().items()}
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
    return card_in(start + header, path)


def load_checkpoint(name_or_path: str | Path) -> tuple[SegmentationNetwork, dict]:
    """The network in evaluation mode, float32, and its card. Raises CheckpointError in one sentence."""
    path = checkpoint_path(name_or_path)
    try:
        # Read once and whole: the card belongs to the weights even if the file is replaced meanwhile, and a mapped
        # file that is cut off in use would end the process.
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path.name} could not be read ({error.strerror})") from error
    card = card_in(content, path)
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
        raise unreadable(path, content, error) from error
    state = dict(_unwrapped(state, path.name, None))
    with torch.device("meta"):  # takes no place, however large
        model = assemble(config)
    require_fit(model, state, path.name)
    model.load_state_dict({key: state[key].to(own.dtype) for key, own in model.state_dict().items()}, assign=True)
    model.label_set = label_set
    return model.eval(), card


def with_counts(state: Mapping[str, Tensor], module: torch.nn.Module) -> dict[str, Tensor]:
    """`state` with the norms' counts of batches as in `module`: older files lack them, and nothing depends on them."""
    own = {name: tensor for name, tensor in module.state_dict().items() if name.endswith("num_batches_tracked")}
    return {**own, **state}


def load_strictly(module: torch.nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy `state`, name by name, into `module`; raises CheckpointError, naming `source`, where `require_fit` does."""
    require_fit(module, state, source)
    module.load_state_dict(state)


def require_fit(module: torch.nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Raise CheckpointError naming every key of `state` that `module` lacks, misses or has in another shape or kind.

    So it is with values that no network can compute with: not finite as the module would hold them, or a negative
    variance.
    """
    own = module.state_dict()
    problems = []
    if missing := [key for key in own if key not in state]:
        problems.append(f"missing {some_of(missing)}")
    if unexpected := [key for key in state if key not in own]:
        problems.append(f"unexpected {some_of(unexpected)}")
    misshapen = [
        f"{key} ({tuple(state[key].shape)} instead of {tuple(own[key].shape)})"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if misshapen:
        problems.append(f"of another shape {some_of(misshapen)}")
    unlike = [
        f"{key} ({str(state[key].dtype).removeprefix('torch.')})"
        for key in own
        if key in state and not _can_be(state[key], own[key].dtype)
    ]
    if unlike:
        problems.append(f"not of plain floating-point numbers {some_of(unlike)}")
    if problems:
        raise CheckpointError(f"{source} does not fit the network: keys {'; '.join(problems)}")
    for key, tensor in own.items():
        values = state[key].to(tensor.dtype)
        if not torch.isfinite(values).all():
            raise CheckpointError(f"{source} holds values that are not finite numbers in {key!r}; it cannot be used")
        if key.endswith("running_var") and (values < 0).any():
            raise CheckpointError(f"{source} holds a negative variance in {key!r}; it cannot be used")


def _can_be(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether weights of `dtype` can be these: no signs, codes of a quantisation or complex numbers."""
    plain = tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_complex()
    return plain and (tensor.is_floating_point() or not dtype.is_floating_point)


def plain_state(source: str | Path | Mapping[str, Any], key: str | None = None) -> tuple[Mapping[str, Tensor], str]:
    """A flat mapping of names to tensors, and what to call it in messages. Runs no code from the file.

    source: such a mapping, a file (of safetensors or torch, by its first bytes) or an http(s) address. key: the entry
    that holds the tensors, where that is to be said; "state_dict" and "model" are found. Raises CheckpointError.
    """
    if isinstance(source, Mapping):
        return _unwrapped(source, "the state dict", key), "the state dict"
    try:
        if str(source).startswith(("https://", "http://")):
            content = torch.hub.load_state_dict_from_url(str(source), map_location="cpu", weights_only=True)
        else:
            content = _content(Path(source))
    except CheckpointError:
        raise
    except DECODING_ERRORS as error:
        if refused := REFUSED_CLASS.search(str(error)):
            raise CheckpointError(
                f"{source} holds more than weights, an object of the class {refused[1]}, which is refused because to "
                "unpickle it could run code; have its sender save model.state_dict() alone, best as .safetensors"
            ) from error
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{source} is a TorchScript archive, a program; have its sender save model.state_dict() alone, best as "
                ".safetensors"
            ) from error
        reason = str(error).rpartition("WeightsUnpickler error:")[2] if PICKLED in str(error) else first_line(error)
        raise CheckpointError(
            f"{source} could not be read as plain weights: {one_line(reason, 200)}; give a .safetensors file, or one "
            "of torch.save(model.state_dict(), file)"
        ) from error
    return _unwrapped(content, str(source), key), str(source)


def _content(file: Path) -> Any:
    """What a file of safetensors or of torch holds. Raises CheckpointError for one that says it is something else."""
    with file.open("rb") as opened:
        beginning = opened.read(BEGINNING)
        kind = kind_of(beginning)
        if kind is not None and not kind.torch:
            raise CheckpointError(f"{file} is {kind.words}")
        if kind is None and (beginning[8:9] == b"{" or file.suffix == SUFFIX):
            return safetensors.torch.load(beginning + opened.read())
        opened.seek(0)
        return torch.load(opened, map_location="cpu", weights_only=True)  # by its path, torch would go by its name


def _unwrapped(content: Any, source: str, key: str | None) -> Mapping[str, Tensor]:
    """The tensors by their names, without what unambiguously lies around the mapping and its names."""
    if key is not None:
        if not isinstance(content, Mapping) or not isinstance(content.get(key), Mapping):
            there = _holders(content)
            raise CheckpointError(
                f"{source} holds no tensors under {key!r}" + (f"; it does under {some_of(there)}" if there else "")
            )
        content = content[key]
    for _ in range(DEEPEST):
        holders = [] if _is_state(content) else _holders(content)
        usual = [name for name in WRAPPERS if name in holders]
        if len(usual) == 1:
            content = content[usual[0]]
        elif holders:
            raise CheckpointError(f"{source} holds tensors under {some_of(holders)}; say which with key=")
    if not _is_state(content):
        raise CheckpointError(
            f"{source} holds no state dict; it must map names to tensors, or hold such a mapping under a name"
        )
    names = {name: COMPILED.sub("", name) for name in content if name != AVERAGED}
    while names and all(name.startswith(PARALLEL) for name in names.values()):
        names = {name: short.removeprefix(PARALLEL) for name, short in names.items()}
    if len(set(names.values())) < len(names):
        raise CheckpointError(f"{source} holds some tensors twice, once as of a compiled network; keep one of the two")
    return {short: content[name] for name, short in names.items()}


def _network_in(model: torch.nn.Module) -> SegmentationNetwork:
    """The network itself, of one that torch has wrapped. Raises CheckpointError where there is none of ours."""
    inner = model
    while not isinstance(inner, SegmentationNetwork):
        inside = (getattr(inner, name, None) for name in ("_orig_mod", "module"))
        found = next((part for part in inside if isinstance(part, torch.nn.Module)), None)
        if found is None:
            raise CheckpointError(
                f"a {type(model).__name__} is no network of dnl.build_model; it cannot be saved as one"
            )
        inner = found
    return inner


def _is_state(content: Any) -> bool:
    """Whether it maps names to tensors and holds nothing else."""
    return isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    )


def _holders(content: Any) -> list[str]:
    """The names under which a mapping holds mappings with tensors, or one of WRAPPERS with them."""
    if not isinstance(content, Mapping):
        return []
    parts = {name: part for name, part in content.items() if isinstance(name, str) and isinstance(part, Mapping)}
    return [
        name
        for name, part in parts.items()
        if any(_has_tensor(inner) for inner in (part, *(part.get(wrapper) for wrapper in WRAPPERS)))
    ]


def _has_tensor(part: Any) -> bool:
    return isinstance(part, Mapping) and any(isinstance(value, Tensor) for value in part.values())


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


def _stored(key: str, tensor: Tensor) -> Tensor:
    """A tensor as the file holds it: of convolutions in half precision, unless its largest value is beyond that's."""
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"the weights {key!r} hold values that are not finite numbers; they cannot be saved")
    if tensor.ndim == 4:
        half, largest = torch.finfo(torch.float16), tensor.abs().max().item()
        if largest == 0 or half.tiny <= largest <= half.max:
            tensor = tensor.half()
    return tensor.contiguous().clone()


def some_of(keys: list[str]) -> str:
    """The first three of the keys, for a message."""
    # Keys come out of the file, and may be anything.
    shown = ", ".join(key if key.isprintable() and len(key) <= 80 else f"{key[:80]!a}…" for key in map(str, keys[:3]))
    return shown if len(keys) <= 3 else f"{shown} and {len(keys) - 3} more"
