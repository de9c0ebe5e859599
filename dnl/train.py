"""Train a network: python -m dnl.train --recipe camvid_dnl --data DIR --out RUN [--set key=value …] [--resume]

A run folder holds config.json, environment.json, metrics.jsonl (one line per epoch), state.pt (what --resume needs,
renewed every epoch) and model.safetensors (weights with their card, renewed at every evaluation).
"""

import argparse
import dataclasses
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

import dnl
from dnl.batches import CropDataset, EpochSampler, batch_loader
from dnl.checkpoints import save_checkpoint
from dnl.classes import LabelSet
from dnl.datasets import Cached, DatasetError, Streets, open_dataset
from dnl.engine import NonFiniteLoss, build_optimizer, evaluate, train_one_epoch
from dnl.files import write_atomically, write_json
from dnl.losses import balanced_class_weights
from dnl.network import build_model
from dnl.recipes import RECIPES, TrainConfig, from_dict, override, recipe
from dnl.transforms import RandomCrop


class RunError(ValueError):
    """A run that cannot start or go on; the message says why and what to do."""


def train(config: TrainConfig, *, name: str, data: str | None, out: Path, resume: bool) -> None:
    """Run `config` from its start, or from the last finished epoch in `out`, to its end."""
    out.mkdir(parents=True, exist_ok=True)
    state_file = out / "state.pt"
    if state_file.exists() and not resume:
        raise RunError(f"{out} already holds a run; add --resume to go on with it, or choose another folder")
    if resume and not state_file.exists():
        raise RunError(f"{out} holds no run to resume; leave --resume out to start one")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    training, validation = (Cached(open_dataset(config.dataset, data, split)) for split in ("train", "val"))
    label_set = training.label_set
    if label_set.num_classes != config.model.num_classes:
        raise RunError(
            f"the model has {config.model.num_classes} classes but {config.dataset} has {label_set.num_classes}; "
            f"add --set model.num_classes={label_set.num_classes}"
        )
    sampler, batches = _batches(config, training)
    steps = len(batches)
    total_steps = steps * config.epochs
    class_weights = balanced_class_weights(_pixel_counts(training), config.largest_class_weight).to(device)

    model = build_model(config.model).to(device, memory_format=torch.channels_last)
    model.label_set = label_set
    if resume:
        saved = torch.load(state_file, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
    else:
        _start_attention(model, batches, sampler, config)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True)
    optimizer = build_optimizer(model, config)
    first_epoch = 0
    if resume:
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"].cpu())
        first_epoch = saved["epoch"]
    else:
        write_json(out / "config.json", {"recipe": name, **dataclasses.asdict(config)})
        write_json(out / "environment.json", _environment(device))

    stepped = torch.compile(model) if config.compile else model
    for epoch in range(first_epoch, config.epochs):
        sampler.start(epoch)
        started = time.monotonic()
        with tqdm(total=steps, desc=f"epoch {epoch + 1}/{config.epochs}", leave=False, mininterval=2) as bar:

            def on_step(_, loss, bar=bar):
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()

            loss = train_one_epoch(
                stepped,
                optimizer,
                batches,
                config,
                ignore_index=label_set.ignore_index,
                class_weights=class_weights,
                first_step=epoch * steps,
                total_steps=total_steps,
                average=average,
                on_step=on_step,
            )
        record = {"epoch": epoch + 1, "loss": loss, "seconds": time.monotonic() - started}
        record["images_per_second"] = steps * config.batch_size / record["seconds"]
        if model.context is not None:
            record["gamma"] = model.context.gamma.item()
        if (epoch + 1) % config.evaluate_every == 0 or epoch + 1 == config.epochs:
            evaluated = average.module if config.ema_decay else model
            evaluated.label_set = label_set
            scores = evaluate(evaluated, validation, progress=lambda items: tqdm(items, desc="val", leave=False))
            record |= {"miou": scores.miou, "pixel_accuracy": scores.pixel_accuracy}
            save_checkpoint(
                out / "model.safetensors", evaluated, _card(name, config, label_set, epoch + 1, total_steps)
            )
        state = {
            "epoch": epoch + 1,
            "model": model.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rng": torch.get_rng_state(),
        }
        write_atomically(state_file, lambda path, state=state: torch.save(state, path))
        with (out / "metrics.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        tqdm.write("  ".join(f"{key} {value:.4g}" for key, value in record.items()))


def _batches(config: TrainConfig, training):
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
        [len(dataset) for dataset in datasets], config.streets_per_epoch, config.batch_size, config.seed
    )
    if len(sampler) == 0:
        raise RunError(
            f"a batch of {config.batch_size} is more than the {len(training)} training images; set a smaller batch_size"
        )
    return sampler, batch_loader(CropDataset(datasets, crop, config.seed), sampler, config.batch_size, config.workers)


def _pixel_counts(dataset) -> np.ndarray:
    classes = dataset.label_set.num_classes
    return sum(np.bincount(dataset[i].labels.ravel(), minlength=256)[:classes] for i in range(len(dataset)))


@torch.no_grad()
def _start_attention(model, batches, sampler, config) -> None:
    """Scale W_q and W_k on a first batch, if the recipe asks for it."""
    if model.context is None or not config.logit_std:
        return
    sampler.start(0)
    images, _ = next(iter(batches))
    device = next(model.parameters()).device
    model.train()
    encoding = model.encode(images.to(device, memory_format=torch.channels_last))
    model.context.start_at_unit_spread(encoding.features, config.logit_std)


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


def _environment(device: torch.device) -> dict:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "version": dnl.__version__,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dnl.train", description="Train a segmentation network.")
    parser.add_argument("--recipe", required=True, choices=sorted(RECIPES), help="named preset")
    parser.add_argument("--data", help="folder of the data set")
    parser.add_argument("--out", required=True, type=Path, help="run folder")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the recipe"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    options = parser.parse_args(arguments)
    try:
        config = override(recipe(options.recipe), options.set)
        if options.resume and (options.out / "config.json").exists():
            config = _resumed_config(options, config)
        train(config, name=options.recipe, data=options.data, out=options.out, resume=options.resume)
    except KeyboardInterrupt:
        print(f"Interrupted; the last finished epoch is in {options.out}: go on with --resume.", file=sys.stderr)
        return 130
    except (ValueError, DatasetError, NonFiniteLoss, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _resumed_config(options, config: TrainConfig) -> TrainConfig:
    """The configuration the run was started with; settings given now must not contradict it."""
    fields = json.loads((options.out / "config.json").read_text(encoding="utf-8"))
    name = fields.pop("recipe")
    started = from_dict(fields)
    if name != options.recipe or (options.set and config != started):
        raise RunError(f"{options.out} was started with other settings (config.json there); resume without --set")
    return started


if __name__ == "__main__":
    sys.exit(main())
