"""A training run, from its start or from its last finished epoch to its end."""

import copy
import dataclasses
import time
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from dnl.checkpoints import load_checkpoint, load_strictly, load_torchvision_backbone, save_checkpoint
from dnl.datasets import Cached, Streets, open_dataset
from dnl.distributed import World, parallel, synchronised_norms
from dnl.files import VERSION
from dnl.network import build_model
from dnl.training.batches import CropDataset, EpochSampler, batch_loader
from dnl.training.engine import (
    autocast_dtype,
    build_optimizer,
    evaluate,
    learning_rate,
    remove_class_weights,
    settle_norms,
    train_one_epoch,
)
from dnl.training.losses import balanced_class_weights
from dnl.training.recipes import TrainConfig
from dnl.training.runs import (
    Run,
    RunError,
    Update,
    epoch_seed,
    record,
    save_progress,
    unusable_state,
)
from dnl.transforms import RandomCrop
from dnl.untrusted import DECODING_ERRORS

# Images whose features W_q and W_k start on: enough cells to tell the directions in which they vary.
ATTENTION_START_IMAGES = 48


def train(run: Run, *, data: str | None, world: World) -> None:
    """Train from the start of `run`, or from its last finished epoch, to its end.

    Everything random depends on (seed, epoch, rank), so a resumed run repeats what the uninterrupted one does. A new
    run is recorded in its folder once data and weights have turned out to fit. Raises ValueError (DatasetError,
    RunError, CheckpointError) where they do not, NonFiniteLoss, OSError.
    """
    config, curves = run.config, list(run.curves)
    training, validation = (open_split(config, data, split) for split in ("train", "val"))
    label_set = training.label_set
    if label_set.num_classes != config.model.num_classes:
        raise RunError(
            f"the model has {config.model.num_classes} classes but {config.dataset} has {label_set.num_classes}; "
            f"add --set model.num_classes={label_set.num_classes}"
        )
    sampler, batches = training_batches(config, training, world)
    total_steps = sampler.batches * config.epochs
    class_weights = None
    if config.largest_class_weight:
        class_weights = balanced_class_weights(_pixel_counts(training), config.largest_class_weight).to(world.device)

    torch.manual_seed(config.seed)
    model: Any = build_model(config.model)
    model = synchronised_norms(model.to(world.device, memory_format=torch.channels_last), world)
    model.label_set = label_set
    if run.saved is None:
        if config.start_from:
            _start_from(model, config)
        if config.backbone_weights:
            load_torchvision_backbone(config.backbone_weights, model)
        if config.skip_from:
            model.close_skip()
        if model.context is not None and config.logit_std:
            _start_attention(model, batches, config, epoch=0)
    average: Any = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True)
    optimizer = build_optimizer(model, config)
    scaler = torch.amp.GradScaler(
        world.device.type, enabled=autocast_dtype(config.precision, world.device) == torch.float16
    )
    history = []
    if run.saved is not None:
        history = run.saved["history"]
        parts = {"model": model, "average": average, "optimizer": optimizer, "scaler": scaler}
        try:
            for name, part in parts.items():
                part.load_state_dict(run.saved[name])
        except DECODING_ERRORS as error:
            raise unusable_state(run.out) from error
    record(run, world)

    stepped: Any = parallel(model, world)
    if config.compile:
        stepped = torch.compile(stepped)
    for epoch in range(len(history), config.epochs):
        if model.context is not None and epoch and epoch == config.attention_restart:
            _restart_attention(model, average, optimizer, batches, config, epoch)
        # What is dropped has no gradient, so the closed skip stays at zero until it comes in.
        model.skip_dropout.p = 1.0 if epoch < config.skip_from else config.model.skip_dropout
        sampler.start(epoch)
        torch.manual_seed(epoch_seed(config.seed, epoch, world.rank))
        started = time.monotonic()
        with tqdm(total=sampler.batches, desc=f"epoch {epoch + 1}/{config.epochs}", **_bar(world)) as bar:

            def after_step(step, loss, bar=bar, epoch=epoch):
                average.update_parameters(model)
                rate = learning_rate(step, total_steps, config)
                curves.append(Update(step + 1, epoch + 1, loss, rate))
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
        figures = {"epoch": epoch + 1, "loss": loss, "seconds": time.monotonic() - started}
        figures["images_per_second"] = sampler.batches * config.batch_size / figures["seconds"]
        if model.context is not None:
            figures["gamma"] = model.context.gamma.item()
        if (epoch + 1) % config.evaluate_every == 0 or epoch + 1 == config.epochs:
            evaluated = copy.deepcopy(average.module if config.ema_decay else model)
            if config.settling_batches and not config.freeze_norms:
                sampler.start(epoch + 1)
                settle_norms(evaluated, islice(batches, config.settling_batches), world.size)
            if class_weights is not None:
                remove_class_weights(evaluated, class_weights)
            scores = evaluate(
                evaluated, validation, world=world, progress=lambda items: tqdm(items, desc="val", **_bar(world))
            )
            figures |= {"miou": scores.miou, "pixel_accuracy": scores.pixel_accuracy}
            if world.is_main:
                card = _card(run.recipe, config, training, epoch + 1, total_steps)
                save_checkpoint(run.out / "model.safetensors", evaluated, card)
        history.append(figures)
        if world.is_main:
            state = {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
                "history": history,
            }
            save_progress(run.out, state, curves)
            tqdm.write("  ".join(f"{key} {value:.4g}" for key, value in figures.items()))


def _start_from(model, config: TrainConfig) -> None:
    """Take the weights of a checkpoint, but for the parts that start anew."""
    weights = load_checkpoint(config.start_from)[0].state_dict()
    fresh = tuple(part.strip() + "." for part in config.fresh_parts.split(",") if part.strip())
    for prefix in fresh:
        if not any(key.startswith(prefix) for key in model.state_dict()):
            parts = ", ".join(name for name, _ in model.named_children())
            raise RunError(f"the network has no part {prefix[:-1]!r} to start anew; its parts are {parts}")
    kept = {key: value for key, value in weights.items() if not key.startswith(fresh)}
    kept |= {key: value for key, value in model.state_dict().items() if key.startswith(fresh)}
    load_strictly(model, kept, config.start_from)


def open_split(config: TrainConfig, data: str | None, split: str):
    """The data set of `config`, kept in memory if it says so. Raises DatasetError."""
    dataset = open_dataset(config.dataset, data, split)
    return Cached(dataset) if config.keep_in_memory else dataset


def training_batches(config: TrainConfig, training, world: World):
    """Sampler and loader of this process's share of the training batches. Raises RunError without a whole batch."""
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
    return np.sum(
        [np.bincount(dataset[i].labels.ravel(), minlength=256)[:classes] for i in range(len(dataset))], axis=0
    )


def _bar(world: World) -> dict:
    return {"leave": False, "mininterval": 1, "disable": not world.is_main}


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


def _card(name: str, config: TrainConfig, training, epochs: int, total_steps: int) -> dict:
    sources = {"camvid": f"CamVid train ({len(training)} images)", "streets": "built-in streets, train split"}
    data = [sources.get(config.dataset, config.dataset)]
    if config.streets_per_epoch:
        data.append(f"built-in streets, train split ({config.streets_per_epoch} scenes an epoch)")
    licence = "CamVid is free for research use only" if config.dataset == "camvid" else "none beyond the project's"
    return {
        "name": name.replace("_", "-"),
        "version": VERSION,
        "recipe": {"name": name, **dataclasses.asdict(config)},
        "epochs_trained": epochs,
        "total_steps": total_steps,
        "data": " + ".join(data),
        "licence": licence,
        "dataset": training.label_set.name,
    }
