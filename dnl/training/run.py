"""A training run, from its start or from its last finished epoch to its end: set up, one epoch, evaluate and save."""

import copy
import dataclasses
import time
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from dnl.attention import settle_additions
from dnl.checkpoints import load_backbone, load_checkpoint, load_strictly, read_card, recipes_of, save_checkpoint
from dnl.datasets import LabelledDataset
from dnl.distributed import World, from_main, parallel, synchronised_norms
from dnl.files import VERSION
from dnl.network import build_model
from dnl.training.batches import Batches, EpochSampler, open_split, streets_among, training_batches
from dnl.training.config import TrainConfig, part_names
from dnl.training.consistency import begun_anew, require_learning, require_weights, stages_beyond
from dnl.training.data import about_data, look_before
from dnl.training.engine import (
    build_optimizer,
    evaluate,
    freeze,
    frozen_norms,
    growing_average,
    kept_parts,
    learning_rate,
    remove_class_weights,
    settle_norms,
    train_one_epoch,
)
from dnl.training.faults import faults_in_words
from dnl.training.losses import balanced_class_weights
from dnl.training.precision import autocast_dtype, measured_precision
from dnl.training.runs import (
    Run,
    RunError,
    Update,
    epoch_seed,
    held,
    record,
    require_classes,
    save_progress,
    unusable_state,
)
from dnl.untrusted import DECODING_ERRORS

# Images whose features W_q and W_k start on: enough cells to tell the directions in which they vary.
ATTENTION_START_IMAGES = 48


class _Data(NamedTuple):
    """What a run learns from and is scored on. batches: this process's share, in the order of the sampler."""

    training: LabelledDataset
    validation: LabelledDataset
    sampler: EpochSampler
    batches: Batches
    total_steps: int  # updates of the whole run
    class_weights: Tensor | None
    about: dict  # what config.json says of the data
    notes: tuple[str, ...]  # what is to be said of it before the start


class _Learner(NamedTuple):
    """What training changes; state.pt keeps the state of each part under its name here."""

    model: Any
    average: Any
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


def train(run: Run, *, data: str | None, world: World) -> None:
    """Train from the start of `run`, or from its last finished epoch, to its end.

    Everything random depends on (seed, epoch, rank), so a resumed run repeats what the uninterrupted one does. A new
    run is recorded in its folder once data and weights have turned out to fit. Raises ValueError (DatasetError,
    RunError, CheckpointError) where they do not or another process trains there, NonFiniteLoss, OSError.
    """
    given = _open_data(run, data, world)
    run, chosen = _with_precision(run, world)
    learner = _set_up(run, given, world)
    _settle_additions(run, world)
    with held(run.out, world):
        for sentence in (
            *(begun_anew(run.config) if run.saved is None else ()),
            *stages_beyond(run.config, given.total_steps),
            *given.notes,
            *chosen,
            *record(run, given.about, world),
        ):
            _say(sentence, world)
        with faults_in_words():
            _train_epochs(run, learner, given, world)


def _train_epochs(run: Run, learner: _Learner, given: _Data, world: World) -> None:
    config, curves = run.config, list(run.curves)
    history = [] if run.saved is None else run.saved["history"]
    stepped: Any = parallel(learner.model, world)
    if config.compile:
        stepped = torch.compile(stepped)
    for epoch in range(len(history), config.epochs):
        figures = _train_epoch(learner, stepped, given, config, epoch, world, curves)
        if (epoch + 1) % config.evaluate_every == 0 or epoch + 1 == config.epochs:
            figures |= _evaluate_and_save(learner, given, run, epoch, world)
        history.append(figures)
        if world.is_main:
            state = {name: part.state_dict() for name, part in learner._asdict().items()}
            save_progress(run.out, {**state, "history": history, "additions": settle_additions()}, curves)
        _say("  ".join(f"{key} {value:.4g}" for key, value in figures.items()), world)


def _say(sentence: str, world: World) -> None:
    if world.is_main:
        tqdm.write(sentence)


# --- set up ----------------------------------------------------------------------------------------------------------


def _open_data(run: Run, data: str | None, world: World) -> _Data:
    """Open both splits and look at them, once, before anything is learnt from them."""
    config = run.config
    training, validation = (open_split(config, data, split) for split in ("train", config.validation))
    label_set = training.label_set
    require_classes(run, label_set)
    if label_set.num_classes != config.model.num_classes:
        raise RunError(
            f"the model has {config.model.num_classes} classes but {config.dataset} has {label_set.num_classes}; "
            f"add --set model.num_classes={label_set.num_classes}"
        )
    sampler, batches = training_batches(config, training, world)
    looks, notes = look_before(config, training, validation, world)
    class_weights = None
    if config.largest_class_weight:
        counts = np.array(looks[0].class_pixels)
        if not counts.any() or not looks[0].complete:
            counts = _pixel_counts(training)
        class_weights = balanced_class_weights(counts, config.largest_class_weight).to(world.device)
    about = about_data(label_set, {"train": training, "val": validation}, world)
    if before := _began_with(run):
        about["began_with"] = before
    return _Data(
        training, validation, sampler, batches, sampler.batches * config.epochs, class_weights, about, tuple(notes)
    )


def _began_with(run: Run) -> list:
    """The settings of the trainings that the run's first weights come from; none of a run from scratch."""
    if run.data is not None:  # resumed: the checkpoint may be gone, or another one by now
        return list(recipes_of({"began_with": run.data.get("began_with")}))
    return list(recipes_of(read_card(run.config.start_from))) if run.config.start_from else []


def _with_precision(run: Run, world: World) -> tuple[Run, list[str]]:
    """The run with the faster precision in place of "auto", and a sentence that says so; else the run as it is."""
    if run.config.precision != "auto":
        return run, []
    timing = measured_precision(run.config, world.device)
    return run._replace(config=dataclasses.replace(run.config, precision=timing.faster)), [timing.sentence]


def _settle_additions(run: Run, world: World) -> None:
    """Have all processes add the attention's gradients as the main one does, and a resumed run as it did before."""
    saved = None if run.saved is None else run.saved.get("additions")
    in_place = settle_additions(saved if isinstance(saved, bool) else None)
    settle_additions(bool(from_main(torch.tensor(in_place, device=world.device))))


def _set_up(run: Run, given: _Data, world: World) -> _Learner:
    """Network, averaged weights, optimiser and scaler: as they start, or as state.pt has them."""
    config = run.config
    if run.saved is None:
        require_weights(config, run.recipe)
        require_learning(config)
    torch.manual_seed(config.seed)
    model: Any = build_model(config.model)
    model = synchronised_norms(model.to(world.device, memory_format=torch.channels_last), world)
    model.label_set = given.training.label_set
    if run.saved is None:
        if config.start_from:
            _start_from(model, config)
        if config.backbone_weights:
            load_backbone(config.backbone_weights, model)
        if config.skip_from:
            model.close_skip()
        if model.context is not None and config.logit_std:
            _start_attention(model, given, config, epoch=0)
    for name in part_names(config.learning_parts):
        _require_part(model, name, "learn")
    freeze(model, config)
    average = AveragedModel(model, multi_avg_fn=growing_average(config.ema_decay), use_buffers=True)
    optimizer = build_optimizer(model, config)
    scaler = torch.amp.GradScaler(world.device.type, enabled=autocast_dtype(config, world.device) == torch.float16)
    learner = _Learner(model, average, optimizer, scaler)
    if run.saved is not None:
        try:
            for name, part in learner._asdict().items():
                part.load_state_dict(run.saved[name])
        except DECODING_ERRORS as error:
            raise unusable_state(run.out) from error
    return learner


def _start_from(model: Any, config: TrainConfig) -> None:
    """Take the weights of a checkpoint, but for the parts that start anew."""
    weights = load_checkpoint(config.start_from)[0].state_dict()
    for name in part_names(config.fresh_parts):
        _require_part(model, name, "start anew")
    fresh = tuple(name + "." for name in part_names(config.fresh_parts))
    kept = {key: value for key, value in weights.items() if not key.startswith(fresh)}
    kept |= {key: value for key, value in model.state_dict().items() if key.startswith(fresh)}
    load_strictly(model, kept, config.start_from)


def _require_part(model: Any, name: str, what: str) -> None:
    parts = [part for part, module in model.named_children() if next(module.parameters(), None) is not None]
    if name not in parts:
        raise RunError(f"the network has no part {name!r} to {what}; its parts are {', '.join(parts)}")


def _pixel_counts(dataset: LabelledDataset) -> np.ndarray:
    """Labelled pixels of each class in the whole data set."""
    classes = dataset.label_set.num_classes
    return np.sum(
        [np.bincount(dataset[i].labels.ravel(), minlength=256)[:classes] for i in range(len(dataset))], axis=0
    )


@torch.no_grad()
def _start_attention(model: Any, given: _Data, config: TrainConfig, epoch: int) -> None:
    """Set W_q and W_k on the features of the epoch's first images, the same in every process."""
    every = given.sampler
    sampler = EpochSampler(every.lengths, every.drawn, config.batch_size, config.seed, groups=every.groups)
    sampler.start(epoch)
    images = torch.stack([given.batches.dataset[item][0] for item in islice(sampler, ATTENTION_START_IMAGES)])
    device = next(model.parameters()).device
    # A copy sees the images: batch norms would remember them.
    seen = copy.deepcopy(model).train()
    for part in kept_parts(seen, config):
        part.eval()
    features = [
        seen.encode(part.to(device, memory_format=torch.channels_last)).features
        for part in images.split(config.batch_size)
    ]
    model.context.start_whitened(torch.cat(features), config.logit_std)


def _restart_attention(learner: _Learner, given: _Data, config: TrainConfig, epoch: int) -> None:
    """`_start_attention` in mid-training: averages and the optimiser forget the old W_q and W_k."""
    _start_attention(learner.model, given, config, epoch)
    for name in ("query", "key"):
        weight = getattr(learner.model.context, name).weight
        getattr(learner.average.module.context, name).weight.data.copy_(weight.data)
        learner.optimizer.state.pop(weight, None)


# --- one epoch, and what is made of it -------------------------------------------------------------------------------


def _train_epoch(
    learner: _Learner, stepped: Any, given: _Data, config: TrainConfig, epoch: int, world: World, curves: list[Update]
) -> dict[str, float]:
    """Train for epoch `epoch` (from 0) and add its updates to `curves`; returns its record, as yet without scores.

    stepped: the learner's model as it is called, wrapped for several processes and compiled where that is asked for.
    """
    model, sampler = learner.model, given.sampler
    if model.context is not None and epoch and epoch == config.attention_restart:
        _restart_attention(learner, given, config, epoch)
    # What is dropped has no gradient, so the closed skip stays at zero until it comes in.
    model.skip_dropout.p = 1.0 if epoch < config.skip_from else config.model.skip_dropout
    sampler.start(epoch)
    torch.manual_seed(epoch_seed(config.seed, epoch, world.rank))
    started = time.monotonic()
    with tqdm(total=sampler.batches, desc=f"epoch {epoch + 1}/{config.epochs}", **_bar(world)) as bar:

        def after_step(step: int, loss: float) -> None:
            learner.average.update_parameters(model)
            curves.append(Update(step + 1, epoch + 1, loss, learning_rate(step, given.total_steps, config)))
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()

        loss = train_one_epoch(
            stepped,
            learner.optimizer,
            given.batches,
            config,
            ignore_index=given.training.label_set.ignore_index,
            class_weights=given.class_weights,
            first_step=epoch * sampler.batches,
            total_steps=given.total_steps,
            processes=world.size,
            scaler=learner.scaler,
            after_step=after_step,
        )
    figures = {"epoch": epoch + 1, "loss": loss, "seconds": time.monotonic() - started}
    figures["images_per_second"] = sampler.batches * config.batch_size / figures["seconds"]
    if model.context is not None:
        figures["gamma"] = model.context.gamma.item()
    return figures


def _evaluate_and_save(learner: _Learner, given: _Data, run: Run, epoch: int, world: World) -> dict[str, float]:
    """Score the averaged weights, and renew model.safetensors with them; returns mIoU and pixel accuracy."""
    config = run.config
    evaluated = copy.deepcopy(learner.average.module if config.ema_decay else learner.model)
    if config.settling_batches and not config.freeze_norms:
        given.sampler.start(epoch + 1)
        settle_norms(
            evaluated,
            islice(given.batches, config.settling_batches),
            world.size,
            frozen=frozen_norms(evaluated, config),
        )
    if given.class_weights is not None:
        remove_class_weights(evaluated, given.class_weights)
    scores = evaluate(
        evaluated, given.validation, world=world, progress=lambda items: tqdm(items, desc="val", **_bar(world))
    )
    if world.is_main:
        card = _card(run.recipe, config, given, epoch + 1)
        save_checkpoint(run.out / "model.safetensors", evaluated, card)
    return {"miou": scores.miou, "pixel_accuracy": scores.pixel_accuracy}


def _bar(world: World) -> dict:
    return {"leave": False, "mininterval": 1, "disable": not world.is_main}


def _card(name: str, config: TrainConfig, given: _Data, epochs: int) -> dict:
    training = given.training
    rest = f" without {config.dev_group}" if config.dev_group else ""
    sources = {"camvid": f"CamVid train{rest} ({len(training)} images)", "streets": "built-in streets, train split"}
    data = [sources.get(config.dataset, f"{config.dataset}{rest}")]
    if streets := streets_among(config, training):
        data.append(f"built-in streets, train split ({streets} scenes an epoch)")
    if config.backbone_weights:
        data.append(f"a backbone that starts from {Path(config.backbone_weights).name}")
    before = given.about.get("began_with", [])
    if config.start_from:
        of = " and ".join(f"{recipe.get('name')}, {recipe.get('epochs')} epochs" for recipe in before)
        data.append(f"weights that start from {Path(config.start_from).name}" + (f" ({of})" if of else ""))
    licence = "CamVid is free for research use only" if config.dataset == "camvid" else "none beyond the project's"
    # Where the weights lay on the machine is nobody's business.
    weights = {name: Path(getattr(config, name)).name for name in ("start_from", "backbone_weights")}
    card = {
        "name": name.replace("_", "-"),
        "version": VERSION,
        "recipe": {"name": name, **dataclasses.asdict(config), **weights},
        "epochs_trained": epochs,
        "total_steps": given.total_steps,
        "data": " + ".join(data),
        "chosen_on": {"dataset": config.dataset, "split": config.validation, "images": len(given.validation)},
        "licence": licence,
        "dataset": training.label_set.name,
    }
    return {**card, "began_with": before} if before else card
