"""Speed of training, side by side: networks that take turns at whole updates on the same batch of seeded noise."""

import random
from collections.abc import Callable, Mapping
from time import perf_counter

import torch

from dnl.network import build_model
from dnl.training.config import TrainConfig
from dnl.training.engine import build_optimizer, freeze, train_one_epoch

WARM_UP = 2  # rounds that do not count


def training_update(config: TrainConfig, device: torch.device) -> Callable[[], None]:
    """A function that makes one update of the recipe's network: forward, loss, backward, optimiser."""
    generator = torch.Generator().manual_seed(0)
    size = (config.batch_size, config.crop_height, config.crop_width)
    images = torch.randn(size[0], 3, *size[1:], generator=generator)
    labels = torch.randint(0, config.model.num_classes, size, generator=generator)
    torch.manual_seed(config.seed)
    model = build_model(config.model)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    freeze(model, config)
    optimizer = build_optimizer(model, config)

    def update() -> None:
        train_one_epoch(
            model,
            optimizer,
            [(images, labels)],
            config,
            ignore_index=-100,
            class_weights=None,
            first_step=0,
            total_steps=1_000_000,
        )
        if device.type == "cuda":
            torch.cuda.synchronize()

    return update


def interleaved_times(
    calls: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = WARM_UP
) -> dict[str, list[float]]:
    """Seconds of each call in `rounds` rounds, in which all take turns, after `warm_up` rounds that are not counted.

    Whatever else the machine does falls on all alike: trust the ratios more than the seconds. The order is another one
    each round: whoever comes after a call that gives gigabytes back to the system pays for it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order, chance = list(calls), random.Random(0)
    for turn in range(warm_up + rounds):
        for name in order:
            start = perf_counter()
            calls[name]()
            if turn >= warm_up:
                seconds[name].append(perf_counter() - start)
        chance.shuffle(order)
    return seconds
