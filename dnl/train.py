"""Train a network: python -m dnl.train --recipe camvid_dnl --data DIR --out RUN [--set key=value …] [--resume]

A run folder holds config.json, environment.json, metrics.jsonl (one line per epoch), state.pt (what --resume needs,
renewed every epoch) and model.safetensors (weights with their card, renewed at every evaluation).
"""

import argparse
import copy
import dataclasses
import json
import platform
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

import dnl
from dnl.batches import CropDataset, EpochSampler, batch_loader
from dnl.checkpoints import save_checkpoint
from dnl.classes import LabelSet
from dnl.datasets import Cached, Streets, open_dataset
from dnl.distributed import World, join, leave, parallel, synchronised_norms
from dnl.engine import NonFiniteLoss, autocast_dtype, build_optimizer, evaluate, train_one_epoch
from dnl.files import write_atomically, write_json
from dnl.losses import balanced_class_weights
from dnl.network import build_model
from dnl.recipes import RECIPES, TrainConfig, from_dict, override, recipe
from dnl.transforms import RandomCrop

# Images whose features W_q and W_k start on: enough cells to tell the directions in which they vary.
ATTENTION_START_IMAGES = 48


class RunError(ValueError):
    """A run that cannot start or go on; the message says why and what to do."""


def train(config: TrainConfig, *, name: str, data: str | None, out: Path, resume: bool, world: World) -> None:
    """Run `config` from its start, or from the last finished epoch in `out`, to its end.

    Everything random depends on (seed, epoch, rank), so a resumed run repeats what the uninterrupted one does.
    """
    state_file = out / "state.pt"
    saved = torch.load(state_file, map_location=world.device, weights_only=True) if resume else None
    training, validation = (_open(config, data, split) for split in ("train", "val"))
    label_set = training.label_set
    if label_set.num_classes != config.model.num_classes:
        raise RunError(
            f"the model has {config.model.num_classes} classes but {config.dataset} has {label_set.num_classes}; "
            f"add --set model.num_classes={label_set.num_classes}"
        )
    sampler, batches = _batches(config, training, world)
    total_steps = sampler.batches * config.epochs
    class_weights = None
    if config.largest_class_weight:
        class_weights = balanced_class_weights(_pixel_counts(training), config.largest_class_weight).to(world.device)

    torch.manual_seed(config.seed)
    model = build_model(config.model).to(world.device, memory_format=torch.channels_last)
    model = synchronised_norms(model, world)
    model.label_set = label_set
    if saved is None:
        if model.context is not None and config.logit_std:
            _start_attention(model, batches, config, epoch=0)
    else:
        model.load_state_dict(saved["model"])
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True)
    optimizer = build_optimizer(model, config)
    scaler = torch.amp.GradScaler(
        world.device.type, enabled=autocast_dtype(config.precision, world.device) == torch.float16
    )
    history = []
    if saved is not None:
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        scaler.load_state_dict(saved["scaler"])
        history = saved["history"]

    stepped = parallel(model, world)
    if config.compile:
        stepped = torch.compile(stepped)
    for epoch in range(len(history), config.epochs):
        if model.context is not None and epoch and epoch == config.attention_restart:
            _restart_attention(model, average, optimizer, batches, config, epoch)
        sampler.start(epoch)
        torch.manual_seed(_random_seed(config.seed, epoch, world.rank))
        started = time.monotonic()
        with tqdm(total=sampler.batches, desc=f"epoch {epoch + 1}/{config.epochs}", **_bar(world)) as bar:

            def after_step(_, loss, bar=bar):
                average.update_parameters(model)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()

            loss = train_one_epoch(
                stepped,
                optimizer,
                batches,
                config,
                ignore_index=label_set.ignore_index,
                class_weights=class_weights,
                first_step=epoch * sampler.batches,
                total_steps=total_steps,
                processes=world.size,
                scaler=scaler,
                after_step=after_step,
            )
        record = {"epoch": epoch + 1, "loss": loss, "seconds": time.monotonic() - started}
        record["images_per_second"] = sampler.batches * config.batch_size / record["seconds"]
        if model.context is not None:
            record["gamma"] = model.context.gamma.item()
        if (epoch + 1) % config.evaluate_every == 0 or epoch + 1 == config.epochs:
            evaluated = average.module if config.ema_decay else model
            scores = evaluate(
                evaluated, validation, world=world, progress=lambda items: tqdm(items, desc="val", **_bar(world))
            )
            record |= {"miou": scores.miou, "pixel_accuracy": scores.pixel_accuracy}
            if world.is_main:
                card = _card(name, config, label_set, epoch + 1, total_steps)
                save_checkpoint(out / "model.safetensors", evaluated, card)
        history.append(record)
        if world.is_main:
            state = {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
                "history": history,
            }
            _save_progress(out, state)
            tqdm.write("  ".join(f"{key} {value:.4g}" for key, value in record.items()))


def _open(config: TrainConfig, data: str | None, split: str):
    dataset = open_dataset(config.dataset, data, split)
    return Cached(dataset) if config.keep_in_memory else dataset


def _batches(config: TrainConfig, training, world: World):
    crop = RandomCrop(
        config.crop_height,
        config.crop_width,
        config.min_scale,
        config.max_scale,
        ignore_index=training.label_set.ignore_index,
    )
    datasets = [training]
    if config.streets_per_epoch:
        datasets.append(Cached(Streets("train", config.streets_pool)))
    sampler = EpochSampler(
        [len(dataset) for dataset in datasets],
        config.streets_per_epoch,
        config.batch_size,
        config.seed,
        rank=world.rank,
        processes=world.size,
    )
    if sampler.batches == 0:
        raise RunError(
            f"a batch of {config.batch_size} is more than the {len(training)} training images; set a smaller batch_size"
        )
    return sampler, batch_loader(CropDataset(datasets, crop, config.seed), sampler, config.workers)


def _pixel_counts(dataset) -> np.ndarray:
    classes = dataset.label_set.num_classes
    return sum(np.bincount(dataset[i].labels.ravel(), minlength=256)[:classes] for i in range(len(dataset)))


def _random_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _bar(world: World) -> dict:
    return {"leave": False, "mininterval": 1, "disable": not world.is_main}


def _save_progress(out: Path, state: dict) -> None:
    """What --resume needs, and the log beside it, each whole or not at all."""
    write_atomically(out / "state.pt", lambda path: torch.save(state, path))
    lines = "".join(json.dumps(record) + "\n" for record in state["history"])
    write_atomically(out / "metrics.jsonl", lambda path: path.write_text(lines, encoding="utf-8"))


@torch.no_grad()
def _start_attention(model, batches, config, epoch: int) -> None:
    """Set W_q and W_k on the features of the epoch's first images, the same in every process."""
    sampler = EpochSampler(batches.sampler.lengths, config.streets_per_epoch, config.batch_size, config.seed)
    sampler.start(epoch)
    images = torch.stack([batches.dataset[item][0] for item in islice(sampler, ATTENTION_START_IMAGES)])
    device = next(model.parameters()).device
    # A copy sees the images: batch norms would remember them.
    seen = copy.deepcopy(model).train()
    features = [
        seen.encode(part.to(device, memory_format=torch.channels_last)).features
        for part in images.split(config.batch_size)
    ]
    model.context.start_whitened(torch.cat(features), config.logit_std)


def _restart_attention(model, average, optimizer, batches, config, epoch: int) -> None:
    """`_start_attention` in mid-training: averages and the optimiser forget the old W_q and W_k."""
    _start_attention(model, batches, config, epoch)
    for name in ("query", "key"):
        weight = getattr(model.context, name).weight
        getattr(average.module.context, name).weight.data.copy_(weight.data)
        optimizer.state.pop(weight, None)


def _card(name: str, config: TrainConfig, label_set: LabelSet, epochs: int, total_steps: int) -> dict:
    sources = {"camvid": "CamVid train (367 images)", "streets": "built-in streets, train split"}
    data = [sources.get(config.dataset, config.dataset)]
    if config.streets_per_epoch:
        data.append(f"built-in streets, train split ({config.streets_per_epoch} scenes an epoch)")
    licence = "CamVid is free for research use only" if config.dataset == "camvid" else "none beyond the project's"
    return {
        "name": name.replace("_", "-"),
        "version": dnl.__version__,
        "recipe": {"name": name, **dataclasses.asdict(config)},
        "epochs_trained": epochs,
        "total_steps": total_steps,
        "data": " + ".join(data),
        "licence": licence,
        "dataset": label_set.name,
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
        "version": dnl.__version__,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dnl.train",
        description="Train a segmentation network, on one device, or on several under torchrun.",
    )
    parser.add_argument("--recipe", required=True, choices=sorted(RECIPES), help="named preset")
    parser.add_argument("--data", help="folder of the data set")
    parser.add_argument("--out", required=True, type=Path, help="run folder")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the recipe"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    options = parser.parse_args(arguments)
    try:
        world = join()
        config, resume = _prepare_run(options, world)
        train(config, name=options.recipe, data=options.data, out=options.out, resume=resume, world=world)
    except KeyboardInterrupt:
        print(f"Interrupted; every finished epoch is in {options.out}: go on with --resume.", file=sys.stderr)
        return 130
    except (ValueError, NonFiniteLoss) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}; every finished epoch is kept in {options.out}: --resume goes on", file=sys.stderr)
        return 1
    finally:
        leave()
    return 0


def _prepare_run(options: argparse.Namespace, world: World) -> tuple[TrainConfig, bool]:
    """The run's configuration, and whether there is a finished epoch to go on from; makes the folder of a new run."""
    config = override(recipe(options.recipe), options.set)
    described, finished = (options.out / "config.json").exists(), (options.out / "state.pt").exists()
    if options.resume:
        if not described:
            raise RunError(f"{options.out} holds no run to resume; leave --resume out to start one")
        return _resumed_config(options, config), finished
    if described and world.is_main:
        raise RunError(f"{options.out} already holds a run; add --resume to go on with it, or choose another folder")
    if world.is_main:
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(options.out / "environment.json", _environment(world))
        write_json(options.out / "config.json", {"recipe": options.recipe, **dataclasses.asdict(config)})
    return config, False


def _resumed_config(options: argparse.Namespace, config: TrainConfig) -> TrainConfig:
    """The configuration the run was started with; settings given now must not contradict it."""
    fields = json.loads((options.out / "config.json").read_text(encoding="utf-8"))
    name = fields.pop("recipe")
    started = from_dict(fields)
    if name != options.recipe or (options.set and config != started):
        raise RunError(f"{options.out} was started with other settings (config.json there); resume without --set")
    return started


if __name__ == "__main__":
    sys.exit(main())
