"""Speed of training, side by side: networks that take turns at whole updates on the same batch of seeded noise."""

from collections.abc import Callable, Mapping
from time import perf_counter

import torch

from dnl.engine import build_optimizer, train_one_epoch
from dnl.network import build_model
from dnl.recipes import TrainConfig

WARM_UP = 2  # rounds that do not count


def training_update(config: TrainConfig, device: torch.device) -> Callable[[], None]:
    """A function that makes one update of the recipe's network: forward, loss, backward, optimiser."""
    generator = torch.Generator().manual_seed(0)
    size = (config.batch_size, config.crop_height, config.crop_width)
    images = torch.randn(size[0], 3, *size[1:], generator=generator)
    labels = torch.randint(0, config.model.num_classes, size, generator=generator)
    torch.manual_seed(config.seed)
    model = build_model(config.model).to(device, memory_format=torch.channels_last)
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


def interleaved_times(calls: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in `rounds` rounds, in which all take turns, after WARM_UP rounds that are not counted.

    Whatever else the machine does falls on all alike: trust the ratios more than the seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(WARM_UP + rounds):
        # Every other round backwards, so that nobody always comes first.
        for name in list(calls) if turn % 2 else reversed(list(calls)):
            start = perf_counter()
            calls[name]()
            if turn >= WARM_UP:
                seconds[name].append(perf_counter() - start)
    return seconds
