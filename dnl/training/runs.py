"""The folder of a training run: what is in it, how a run starts or goes on there, and how it stays whole.

    config.json          recipe and every setting, with the precision that "auto" came to; `data`: classes, images and
                         processes; `changes`: what of these was changed on the way, and after which epoch
    environment.json     versions, device, processes
    seeds.json           what every random draw depends on
    metrics.jsonl        one line per finished epoch
    curves.csv           one line per update: step and epoch (from 1), loss, learning rate (of the backbone)
    state.pt             what --resume needs: networks, optimiser, history of the finished epochs
    model.safetensors    weights with their card, renewed at every evaluation
    run.lock             held by the process that trains there

Each file is replaced as a whole. state.pt comes last: it is what makes an epoch count. Where another file is an epoch
ahead of it, because a run was stopped in between, the repeated epoch puts that right.
"""

import csv
import dataclasses
import io
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import torch
from filelock import FileLock, Timeout

from dnl.checkpoints import differing_classes, read_card
from dnl.classes import LabelSet
from dnl.distributed import World
from dnl.files import VERSION, remove_leftovers, write_atomically, write_json
from dnl.training.config import TrainConfig, from_dict, override
from dnl.untrusted import DECODING_ERRORS, read_json, read_text_file

# What may differ when a run goes on: nothing here changes what the saved state means.
CHANGEABLE = (
    "learning_rate",
    "gradient_clip",
    "precision",
    "accumulation",
    "compile",
    "evaluate_every",
    "workers",
    "keep_in_memory",
)
STATE_KEYS = {"model", "average", "optimizer", "scaler", "history"}
CURVES_HEADER = ("step", "epoch", "loss", "learning_rate")


class RunError(ValueError):
    """A run that cannot start or go on; the message says why and what to do."""


class RunStopped(RunError):
    """A run that ended on its way, and goes on with --resume once what the message names is put right."""


class Update(NamedTuple):
    """A row of curves.csv."""

    step: int
    epoch: int
    loss: float
    learning_rate: float


class Run(NamedTuple):
    """A run that is ready to start, or to go on after its last finished epoch.

    saved: the content of state.pt, None without a finished epoch. curves: the updates of the finished epochs. data:
    what config.json says of the data, None for a new run and one of an earlier version.
    """

    recipe: str
    config: TrainConfig
    out: Path
    saved: dict | None
    curves: list[Update]
    data: dict | None = None


def is_run(out: Path) -> bool:
    """Whether `out` is the folder of a run; False where nothing can be found out about it."""
    return os.path.exists(out / "config.json")


def start(recipe_name: str, config: TrainConfig, out: Path, world: World) -> Run:
    """A new run in the folder `out`, which is made if need be and becomes a run's with `record` alone.

    Raises RunError where it is one already or cannot be made.
    """
    if world.is_main:
        if is_run(out):
            raise RunError(f"{out} already holds a run; add --resume to go on with it, or choose another folder")
        with _making(out):
            out.mkdir(parents=True, exist_ok=True)
    return Run(recipe_name, config, out, None, [])


def record(run: Run, about: dict, world: World) -> list[str]:
    """Write down what a new run is, once nothing that it was given can be wrong any more, and of a resumed one what of
    that has changed, which is returned in sentences.

    about: what it is given, from `about_data`. Raises RunError.
    """
    if not world.is_main:
        return []
    path = run.out / "config.json"
    if is_run(run.out):
        recipe_name, changes, config, _ = _read_settings(path)
        settled = _changed(config, run.config)  # a precision that was "auto"
        if run.data == about and not settled:
            return []
        changed = {} if run.data is None else {name: [run.data.get(name), about[name]] for name in about}
        changed = {name: values for name, values in changed.items() if values[0] != values[1]}
        epochs = 0 if run.saved is None else len(run.saved["history"])
        if settled:
            changes = [*changes, {"after_epoch": epochs, **settled}]
        if changed:
            changes = [*changes, {"after_epoch": epochs, "data": changed}]
        write_json(path, {"recipe": recipe_name, "changes": changes, "data": about, **dataclasses.asdict(run.config)})
        return [_change_in_words(name, *values) for name, values in changed.items()]
    with _making(run.out):
        write_json(run.out / "environment.json", _environment(world))
        write_json(run.out / "seeds.json", _seeds(run.config, world))
        # Last, because it is what makes this the folder of a run.
        settings = {"recipe": run.recipe, "changes": [], "data": about, **dataclasses.asdict(run.config)}
        write_json(path, settings)
    return []


def require_classes(run: Run, label_set: LabelSet) -> None:
    """Refuse to go on with other classes than the run was started on, as config.json or its checkpoint has them."""
    known = None if run.data is None else run.data.get("classes")
    if known is None and run.saved is not None and (run.out / "model.safetensors").exists():
        labels = read_card(run.out / "model.safetensors").get("label_set")
        known = labels.get("class_names") if isinstance(labels, dict) else None
    if _are_names(known) and known != list(label_set.class_names):
        raise RunError(
            f"{run.out} was started on other classes than the data set has now: "
            f"{differing_classes(known, label_set.class_names)}; put them back, or start anew in another folder"
        )


def _are_names(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _change_in_words(name: str, before: Any, now: Any) -> str:
    """A change of what a run is given, which config.json notes."""
    if isinstance(before, dict) and isinstance(now, dict):
        if before.get("images") != now["images"]:
            return f"{name} has {now['images']} images, it had {before.get('images')}; noted in config.json"
        return f"the images of {name} have other names than before; noted in config.json"
    return f"{name} is {now}, it was {before}; noted in config.json"


@contextmanager
def held(out: Path, world: World) -> Iterator[None]:
    """Keep others from training in the folder `out` meanwhile; raises RunError where one does."""
    if not world.is_main:
        yield
        return
    with _making(out):
        lock = FileLock(out / "run.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunError(f"another process trains in {out}; let it end, or choose another folder") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _making(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"the run folder {out} cannot be made ({error.strerror}); choose another --out") from error


def resume(recipe_name: str, settings: list[str], out: Path, world: World) -> Run:
    """The run in `out`, from its last finished epoch on.

    settings: `key=value`, of which those in CHANGEABLE may differ from what the run was started with. Raises RunError.
    """
    if not is_run(out):
        raise RunError(f"{out} holds no run to resume; leave --resume out to start one")
    path = out / "config.json"
    started_as, changes, started, data = _read_settings(path)
    config = override(started, settings)
    changed = _changed(started, config)
    if recipe_name != started_as or set(changed) - set(CHANGEABLE):
        raise RunError(
            f"{out} was started with other settings (config.json there); resume with its recipe {started_as}, and "
            f"change nothing but {', '.join(CHANGEABLE)}"
        )
    saved = _read_state(out / "state.pt", world)
    epochs = 0 if saved is None else len(saved["history"])
    if world.is_main:
        remove_leftovers(out)
        if changed:
            changes = [*changes, {"after_epoch": epochs, **changed}]
            about = {} if data is None else {"data": data}
            write_json(path, {"recipe": started_as, "changes": changes, **about, **dataclasses.asdict(config)})
    return Run(started_as, config, out, saved, read_curves(out / "curves.csv", epochs), data)


def save_progress(out: Path, state: dict, curves: list[Update]) -> None:
    """Renew what is written every epoch. Raises OSError; the last finished epoch then stays what it was."""
    lines = "".join(json.dumps(record) + "\n" for record in state["history"])
    write_atomically(out / "metrics.jsonl", lambda path: path.write_text(lines, encoding="utf-8"))
    write_atomically(out / "curves.csv", lambda path: _write_curves(path, curves))
    # Through memory, because torch's own writer hides the reason when a disk is full.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(out / "state.pt", lambda path: path.write_bytes(buffer.getbuffer()))


def read_curves(path: Path, epochs: int) -> list[Update]:
    """The updates of the first `epochs` epochs; none where there is no file. Raises RunError."""
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            next(rows, None)
            updates = [Update(int(step), int(epoch), float(loss), float(rate)) for step, epoch, loss, rate in rows]
    except (ValueError, csv.Error) as error:
        raise RunError(f"{path} is not as a run wrote it ({error}); remove it to go on without its curves") from error
    return [update for update in updates if update.epoch <= epochs]


def epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """What torch's random numbers (dropout) start from in epoch `epoch` (from 0) of process `rank`."""
    return int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1)[0])


def _write_curves(path: Path, curves: list[Update]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CURVES_HEADER)
        writer.writerows(curves)


def _read_settings(path: Path) -> tuple[str, list, TrainConfig, dict | None]:
    """Recipe, changes, settings and what is said of the data in config.json. Raises RunError."""
    try:
        fields = read_json(read_text_file(path))
        name, changes, data = fields.pop("recipe"), fields.pop("changes", []), fields.pop("data", None)
        if data is not None and not _are_names(data["classes"]):
            raise ValueError("its classes are no names")
        return name, changes, from_dict(fields), data
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{path} is not as a run wrote it ({error}); put it back, or start anew") from error


def _changed(started: TrainConfig, config: TrainConfig) -> dict[str, list]:
    """name -> [old, new] of the settings that differ."""
    old, new = dataclasses.asdict(started), dataclasses.asdict(config)
    return {name: [old[name], new[name]] for name in old if old[name] != new[name]}


def _read_state(path: Path, world: World) -> dict | None:
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location=world.device, weights_only=True)
        if not STATE_KEYS <= saved.keys() or not isinstance(saved["history"], list):
            raise ValueError("entries are missing")
        return saved
    except DECODING_ERRORS as error:
        raise unusable_state(path.parent) from error


def unusable_state(out: Path) -> RunError:
    """What is wrong with a run folder whose state.pt is not as the run wrote it."""
    path = out / "state.pt"
    return RunError(f"{path} cannot be used, perhaps it was cut off in copying; copy it again or start anew")


def _seeds(config: TrainConfig, world: World) -> dict:
    return {
        "seed": config.seed,
        "initial_weights": "torch.manual_seed(seed)",
        "order_of_images": "numpy.random.default_rng((seed, epoch)), epochs from 0",
        "crops": "numpy.random.default_rng((seed, epoch, position)), positions from 0 in the epoch's order",
        "dropout": "torch.manual_seed of the value below, by epoch and process",
        "dropout_seeds": [
            [epoch_seed(config.seed, epoch, rank) for rank in range(world.size)] for epoch in range(config.epochs)
        ],
    }


def _environment(world: World) -> dict:
    device = world.device
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "processes": world.size,
        "threads": torch.get_num_threads(),
        "version": VERSION,
    }
