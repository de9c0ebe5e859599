"""Training speed of Denoised NL against the plain non-local network: python -m benchmarks.training [--rounds 30]

The same recipe and backbone, the same batch of seeded noise, whole updates (forward, loss, backward, optimiser). The
networks take turns, so that whatever else the machine does falls on all alike: trust the ratio more than the images
per second. The ratio is that of the median times. Loading of data is left out, since it is the same for both.
"""

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Callable, Mapping

import torch

from dnl.training import RECIPES, TrainConfig, interleaved_times, override, recipe, training_update

NETWORKS = ("nl", "dnl")


def updater(config: TrainConfig, context: str, device: torch.device) -> Callable[[], None]:
    """A function that makes one training update of the recipe's network with this context."""
    return training_update(
        dataclasses.replace(config, model=dataclasses.replace(config.model, context=context)), device
    )


def report(seconds: Mapping[str, list[float]], batch_size: int) -> str:
    """Images per second of each network by its median time, and dnl's as a share of nl's."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    lines = [f"{name:>4}  {batch_size / median:8.2f} images/s" for name, median in medians.items()]
    return "\n".join([*lines, f"dnl / nl  {medians['nl'] / medians['dnl']:.3f}"])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description="dnl against nl in training.")
    parser.add_argument("--recipe", default="camvid_dnl", choices=sorted(RECIPES))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of it")
    parser.add_argument("--rounds", type=int, default=30, help="updates of each network that are timed")
    parser.add_argument("--threads", type=int, help="CPU threads")
    options = parser.parse_args(arguments)
    try:
        if options.rounds < 1:
            raise ValueError(f"--rounds is {options.rounds}; give 1 or more")
        config = override(recipe(options.recipe), options.set)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    updates = {name: updater(config, name, device) for name in NETWORKS}
    size = f"{config.batch_size} images of {config.crop_height}×{config.crop_width}"
    print(f"{config.model.backbone}, width {config.model.width}; {size}; median of {options.rounds} updates; {device}")
    print(report(interleaved_times(updates, options.rounds), config.batch_size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
