"""Training and evaluation as functions of what they are given: no files, no command line."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from dnl.losses import segmentation_loss
from dnl.metrics import SegmentationScores, confusion_matrix, segmentation_scores
from dnl.network import SegmentationNetwork
from dnl.recipes import TrainConfig
from dnl.transforms import normalise


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite."""


def build_optimizer(model: SegmentationNetwork, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; W_q and W_k at their own rate and decay, no decay on vectors (norms, biases, γ)."""
    query_key = []
    if model.context is not None:
        query_key = [model.context.query.weight, model.context.key.weight]
    special = {id(parameter) for parameter in query_key}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in special]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": config.weight_decay, "rate": 1.0},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0, "rate": 1.0},
        {"params": query_key, "weight_decay": config.query_key_decay, "rate": config.query_key_rate},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.learning_rate)


def learning_rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """Linear warm-up, then polynomial decay to 0: the rate of update `step` (from 0) out of `total_steps`."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return config.learning_rate * warmup * (1 - step / total_steps) ** config.poly_power


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of convolutions and products for a `precision` of TrainConfig on this device.

    bfloat16 without processor instructions for it is several times slower than float32, so auto looks for them.
    """
    if precision == "float32":
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)
    return torch.bfloat16 if native else torch.float32


def train_one_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[Tensor, Tensor]],
    config: TrainConfig,
    *,
    ignore_index: int,
    class_weights: Tensor,
    first_step: int,
    total_steps: int,
    average: nn.Module | None = None,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> float:
    """One pass over `batches`; returns the mean loss.

    first_step: number of updates before this epoch. average: an `AveragedModel` updated after each step.
    on_step(step, loss) is called after each update. Raises NonFiniteLoss before a bad update is made.
    """
    device = next(model.parameters()).device
    dtype = autocast_dtype(config.precision, device)
    model.train()
    losses = []
    for step, (images, labels) in enumerate(batches, start=first_step):
        images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
        labels = labels[:, :: config.loss_stride, :: config.loss_stride].to(device, non_blocking=True)
        rate = learning_rate(step, total_steps, config)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            output = model(images, labels.shape[1:])
        loss = segmentation_loss(
            output,
            labels,
            ignore_index=ignore_index,
            class_weights=class_weights,
            auxiliary_weight=config.auxiliary_weight,
        )
        value = loss.item()
        if not np.isfinite(value):
            raise NonFiniteLoss(
                f"the loss is {value} at step {step}; lower the learning rate or check the data, then resume"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimizer.step()
        if average is not None:
            average.update_parameters(model)
        losses.append(value)
        on_step(step, value)
    return float(np.mean(losses))


@torch.inference_mode()
def predict(model: nn.Module, image: np.ndarray) -> np.ndarray:
    """Class index of every pixel: image H×W×3 uint8 -> H×W uint8. The model must be in evaluation mode."""
    device = next(model.parameters()).device
    batch = normalise(image)[None].to(device, memory_format=torch.channels_last)
    return model(batch).logits[0].argmax(0).to(torch.uint8).cpu().numpy()


def evaluate(model: nn.Module, dataset, *, progress: Callable = iter) -> SegmentationScores:
    """Scores over a data set, whole images at single scale; `progress` may wrap the range of indices (tqdm).

    The model's train or evaluation mode is restored afterwards.
    """
    label_set = dataset.label_set
    confusion = np.zeros((label_set.num_classes, label_set.num_classes), np.int64)
    was_training = model.training
    model.eval()
    try:
        for index in progress(range(len(dataset))):
            sample = dataset[index]
            prediction = predict(model, sample.image)
            confusion += confusion_matrix(sample.labels, prediction, label_set.num_classes, label_set.ignore_index)
    finally:
        model.train(was_training)
    return segmentation_scores(confusion, label_set.class_names)
