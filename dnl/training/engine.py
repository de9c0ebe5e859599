"""Training and evaluation as functions of what they are given: no files, no command line."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dnl.datasets import LabelledDataset, group_sizes
from dnl.distributed import World, total
from dnl.inference import WHOLE_IMAGE, Inference, predict
from dnl.metrics import SegmentationScores, confusion_matrix, segmentation_scores
from dnl.network import SegmentationNetwork
from dnl.training.config import TrainConfig, longest_warmup, part_names
from dnl.training.losses import label_weight, segmentation_loss
from dnl.training.precision import autocast_dtype


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite."""


def build_optimizer(model: SegmentationNetwork, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW or SGD of what learns: the backbone at the base rate, the rest at `head_rate` times it.

    W_q, W_k and γ have a rate of their own on top, and the former a decay; vectors (norms, biases, γ) have no decay.
    """
    query_key, gamma = [], []
    if model.context is not None and model.context.gamma.requires_grad:
        query_key, gamma = [model.context.query.weight, model.context.key.weight], [model.context.gamma]
    taken = {id(parameter) for parameter in query_key + gamma}
    backbone = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
    taken |= {id(parameter) for parameter in model.backbone.parameters()}
    head = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in taken]
    groups = [
        {"params": query_key, "weight_decay": config.query_key_decay, "rate": config.head_rate * config.query_key_rate},
        {"params": gamma, "weight_decay": 0.0, "rate": config.head_rate * config.query_key_rate},
    ]
    for parameters, rate in ((backbone, 1.0), (head, config.head_rate)):
        groups.append(
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay, "rate": rate}
        )
        groups.append({"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, "rate": rate})
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def learning_rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """Linear warm-up, then polynomial decay to 0: the rate of update `step` (from 0) out of `total_steps`.

    The warm-up takes a third of the updates at most.
    """
    warmup = min(1.0, (step + 1) / max(1, min(config.warmup_steps, longest_warmup(total_steps))))
    return config.learning_rate * warmup * (1 - step / total_steps) ** config.poly_power


def train_one_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[Tensor, Tensor]],
    config: TrainConfig,
    *,
    ignore_index: int,
    class_weights: Tensor | None,
    first_step: int,
    total_steps: int,
    processes: int = 1,
    scaler: torch.amp.GradScaler | None = None,
    after_step: Callable[[int, float], None] = lambda step, loss: None,
) -> float:
    """One pass over `batches`, of images B×3×H×W and labels B×H×W int64; returns the mean loss.

    first_step: number of updates before this epoch. processes: how many of them share each batch, with `model` then
    wrapped by `dnl.distributed.parallel`; the loss is normalised by the labels of all. scaler: for float16.
    after_step(step, loss) is called after each update. Raises NonFiniteLoss before a bad update is made.
    """
    device = next(model.parameters()).device
    scaler = scaler or torch.amp.GradScaler(device.type, enabled=False)
    model.train()
    for frozen in (*frozen_norms(model, config), *kept_parts(model, config)):
        frozen.eval()
    losses = []
    for step, (images, labels) in enumerate(batches, start=first_step):
        images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
        labels = labels[:, :: config.loss_stride, :: config.loss_stride].to(device, non_blocking=True)
        rate = learning_rate(step, total_steps, config)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        optimizer.zero_grad(set_to_none=True)
        own_loss = _add_gradients(
            model, images, labels, config, scaler, ignore_index, class_weights=class_weights, processes=processes
        )
        value = total(own_loss).item() / processes
        if not np.isfinite(value):
            raise NonFiniteLoss(
                f"the loss is {value} at step {step}: check the data, or lower the rate with --set learning_rate=…"
            )
        _update(model, optimizer, config, scaler)
        losses.append(value)
        after_step(step, value)
    return float(np.mean(losses))


def _add_gradients(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    config: TrainConfig,
    scaler: torch.amp.GradScaler,
    ignore_index: int,
    *,
    class_weights: Tensor | None,
    processes: int,
) -> Tensor:
    """Gradients of a batch's loss, computed in `config.accumulation` parts; returns this process's share of the loss.

    images: B×3×H×W. labels: B×h×w int64, on the grid of the loss.
    """
    dtype = autocast_dtype(config, images.device)
    # Gradients are averaged over the processes, so each divides by its share of what all have.
    normaliser = total(label_weight(labels, ignore_index=ignore_index, class_weights=class_weights)) / processes
    own_loss = torch.zeros((), device=images.device)
    parts = list(zip(images.chunk(config.accumulation), labels.chunk(config.accumulation), strict=True))
    for index, (part_images, part_labels) in enumerate(parts):
        with _gradients_shared(model, index + 1 == len(parts)):
            with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
                output = model(part_images, part_labels.shape[1:])
            loss = segmentation_loss(
                output,
                part_labels,
                ignore_index=ignore_index,
                class_weights=class_weights,
                auxiliary_weight=config.auxiliary_weight,
                normaliser=normaliser,
                ohem_threshold=config.ohem_threshold,
                ohem_least=config.ohem_least,
                lovasz_weight=config.lovasz_weight,
                lovasz_stride=config.lovasz_stride,
                images=len(images),
            )
            scaler.scale(loss).backward()
        own_loss += loss.detach()
    return own_loss


def _update(
    model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig, scaler: torch.amp.GradScaler
) -> None:
    """One step of the optimiser on the gradients that are there, clipped; the skip moves at its own rate."""
    scaler.unscale_(optimizer)
    if config.gradient_clip:
        nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
    skip = _skip_weights(model)
    before = skip.clone()
    scaler.step(optimizer)
    skip.lerp_(before, 1 - config.skip_rate)
    scaler.update()


def growing_average(decay: float) -> Callable[..., None]:
    """How averaged weights take in the next ones: by a decay that grows with their number n as (1 + n)/(10 + n).

    So the average spans the last tenth of the updates until `decay` is reached (0.998 after 4490 of them), and the
    first weights, which have learnt nothing, do not stay in it. For torch's AveragedModel.
    """

    def update(averaged: Any, current: Any, number: Any) -> None:
        n = int(number)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, number)

    return update


def frozen_norms(model: nn.Module, config: TrainConfig) -> list[nn.Module]:
    """The batch norms that keep their statistics."""
    frozen = kept_parts(model, config)
    if config.freeze_norms:
        frozen = [model]
    elif config.freeze_backbone_norms:
        frozen.append(unwrapped(model).backbone)
    norms = (module for part in frozen for module in part.modules())
    return [module for module in norms if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def kept_parts(model: nn.Module, config: TrainConfig) -> list[nn.Module]:
    """The parts of the network that stay wholly as they start: those beside the `learning_parts`, if there are such."""
    learning = part_names(config.learning_parts)
    if "head" in learning:
        learning += ("skip_dropout",)  # of what the head sees
    return [part for name, part in unwrapped(model).named_children() if learning and name not in learning]


def freeze(model: SegmentationNetwork, config: TrainConfig) -> None:
    """Keep the weights of what is beside the `learning_parts`, of the stem and of the first `frozen_stages` stages."""
    for part in kept_parts(model, config):
        part.requires_grad_(False)
    stages = ["stem", *(f"stage{number}" for number in range(1, config.frozen_stages + 1))]
    for stage in stages if config.frozen_stages else ():
        getattr(model.backbone, stage).requires_grad_(False)


@torch.no_grad()
def settle_norms(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], processes: int = 1, frozen: Sequence[nn.Module] = ()
) -> None:
    """Estimate every batch norm's statistics anew, in place, as plain means over `batches`.

    Averaged weights have statistics of their own, and dropout changes them: here all else is in evaluation mode.
    batches: images B×3×H×W, and labels that are not looked at. processes: how many of them average what each has seen.
    Raises ValueError without any batch.
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module not in frozen
    ]
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
    device = next(model.parameters()).device
    seen = 0
    for images, _ in batches:
        model(images.to(device, memory_format=torch.channels_last))
        seen += 1
    if not seen:
        raise ValueError("there is no batch to estimate the batch norms' statistics on; give at least one")
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        for statistic in (norm.running_mean, norm.running_var):
            assert statistic is not None  # batch norms that track no statistics have none
            statistic.copy_(total(statistic) / processes)
    model.train(was_training)


@torch.no_grad()
def remove_class_weights(model: SegmentationNetwork, class_weights: Tensor) -> None:
    """Turn a main head trained with class weights w into one that predicts the classes as frequent as they are.

    Weighted cross-entropy is least where the prediction is proportional to w·p(class); taking log w off the logits
    gives p(class) back, which favours no rare class at the expense of IoU. In place; class_weights: one for each class.
    """
    model.head[-1].bias -= class_weights.log().to(model.head[-1].bias.device)


def unwrapped(model: nn.Module) -> SegmentationNetwork:
    """The network under whatever wraps it."""
    network: Any = model
    while not isinstance(network, SegmentationNetwork):
        network = getattr(network, "module", None) or network._orig_mod
    return network


def _skip_weights(model: nn.Module) -> Tensor:
    """What the main head makes of the stage-4 skip: a view of its weights."""
    network = unwrapped(model)
    return network.head[0].weight.detach()[:, : network.backbone.channels[-1]]


def _gradients_shared(model: Any, share: bool) -> AbstractContextManager:
    """Whether this part's backward exchanges gradients with the other processes: only the last one of a batch does."""
    return nullcontext() if share or not hasattr(model, "no_sync") else model.no_sync()


def evaluate(
    model: nn.Module,
    dataset: LabelledDataset,
    *,
    inference: Inference = WHOLE_IMAGE,
    world: World | None = None,
    progress: Callable = iter,
) -> SegmentationScores:
    """Scores over a data set; in a world of several processes each takes its share of the images, none twice.

    `progress` may wrap the range of indices (tqdm). The model's train or evaluation mode is restored afterwards. Raises
    ValueError, with the image's name, for an image that cannot be scored.
    """
    (confusion,) = _confusions(model, dataset, [0] * len(dataset), inference, world, progress)
    return segmentation_scores(confusion, dataset.label_set.class_names)


class GroupedScores(NamedTuple):
    """Scores over a data set, and over the images of each of its groups, where there are several."""

    whole: SegmentationScores
    groups: dict[str, SegmentationScores]


def evaluate_groups(
    model: nn.Module,
    dataset: LabelledDataset,
    *,
    inference: Inference = WHOLE_IMAGE,
    world: World | None = None,
    progress: Callable = iter,
) -> GroupedScores:
    """`evaluate`, and the same of each group; one without a labelled pixel is left out."""
    groups = list(group_sizes(dataset.origins))
    number = {group: place for place, group in enumerate(groups)}
    group_of = [len(groups) if origin.group is None else number[origin.group] for origin in dataset.origins]
    confusions = _confusions(model, dataset, group_of, inference, world, progress)
    names = dataset.label_set.class_names
    of_groups = zip(groups, confusions, strict=False) if len(groups) > 1 else ()
    scores = {group: segmentation_scores(confusion, names) for group, confusion in of_groups if confusion.any()}
    return GroupedScores(segmentation_scores(confusions.sum(axis=0), names), scores)


def _confusions(
    model: nn.Module,
    dataset: LabelledDataset,
    group_of: Sequence[int],
    inference: Inference,
    world: World | None,
    progress: Callable,
) -> np.ndarray:
    """Pixel counts [label, prediction] of each group: groups×classes×classes. group_of: the group of each image."""
    label_set = dataset.label_set
    confusions = np.zeros((max(group_of, default=0) + 1, label_set.num_classes, label_set.num_classes), np.int64)
    rank, processes = (0, 1) if world is None else (world.rank, world.size)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        for index in progress(range(rank, len(dataset), processes)):
            sample = dataset[index]
            try:
                prediction = predict(model, sample.image, inference)
                confusions[group_of[index]] += confusion_matrix(
                    sample.labels, prediction, label_set.num_classes, label_set.ignore_index
                )
            except ValueError as error:
                raise ValueError(f"image {sample.name} cannot be scored: {error}") from error
    finally:
        model.train(was_training)
    return total(torch.from_numpy(confusions).to(device)).cpu().numpy()
