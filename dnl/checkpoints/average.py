"""The mean of the weights that trainings came to, one after another, as a checkpoint:

    python -m dnl.checkpoints.average --out FILE CHECKPOINT CHECKPOINT …

Weights of trainings that go on from one another lie close together, and their mean is often a better network on images
that none has seen (Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018).
CHECKPOINT … are two or more names or files, of one line of trainings; all count alike. The card of FILE says which they
were, and has no scores: measure it with analysis.card.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dnl.checkpoints.card import CheckpointError, recipes_of
from dnl.checkpoints.file import SUFFIX, load_checkpoint, save_checkpoint
from dnl.commands import exit_status, program, show_anything
from dnl.network import SegmentationNetwork


def mean_network(checkpoints: Sequence[str | Path]) -> tuple[SegmentationNetwork, dict]:
    """The network whose weights and batch-norm statistics are the means of theirs, and its card, without scores.

    In evaluation mode, float32, as `load_checkpoint` gives one.
    checkpoints: names or files. Raises CheckpointError for fewer than two, and unless all are of the same network and
    each training went on from the weights of the one before.
    """
    if len(checkpoints) < 2:
        raise CheckpointError(f"{len(checkpoints)} checkpoint has no mean; give two or more")
    loaded = sorted(
        (load_checkpoint(checkpoint) for checkpoint in checkpoints), key=lambda part: len(recipes_of(part[1]))
    )
    models, cards = zip(*loaded, strict=True)
    last = models[-1]
    for model in models:
        if (model.config, model.label_set) != (last.config, last.label_set):
            raise CheckpointError("the checkpoints are of different networks or classes, which have no mean")
    card = _mean_card(cards)
    last.load_state_dict(_mean([model.state_dict() for model in models]))
    return last, card


def _mean(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The last one's counts of batches stay."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if tensor.is_floating_point() else tensor
        for name, tensor in states[-1].items()
    }


def _mean_card(cards: Sequence[dict]) -> dict:
    """cards: by how many trainings they know, fewest first."""
    recipes = [recipes_of(card) for card in cards]
    longest = recipes[-1]
    counts = [len(known) for known in recipes]
    line = all(known == longest[: len(known)] for known in recipes)
    if not line or 0 in counts or len(set(counts)) < len(counts):
        raise CheckpointError(
            "the checkpoints are not of one line of trainings, each of which went on from the weights of the one "
            "before; weights of others have no mean that is a network"
        )
    looks: dict[str, int] = {}
    for card in cards:  # a split that a part was measured on has been looked at
        known = card.get("looks")
        for split, count in known.items() if isinstance(known, dict) else ():
            looks[split] = max(count, looks.get(split, 0)) if isinstance(count, int) else looks.get(split, 0)
    kept = {name: value for name, value in cards[-1].items() if name != "metrics"}
    return {**kept, "recipe": {**longest[-1], "mean_of": counts}, "looks": looks}


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    show_anything()
    parser = argparse.ArgumentParser(
        prog=program("dnl.checkpoints.average"), description="Write the mean of checkpoints' weights."
    )
    parser.add_argument("--out", required=True, type=Path, help="checkpoint to write: .safetensors")
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help="name of a shipped checkpoint, or a file")
    options = parser.parse_args(arguments)
    return exit_status(lambda: _average(options))


def _average(options: argparse.Namespace) -> None:
    if options.out.suffix != SUFFIX:
        raise CheckpointError(
            f"{options.out} ends in {options.out.suffix or 'nothing'!r}; give a file that ends in {SUFFIX}"
        )
    model, card = mean_network(options.checkpoints)
    save_checkpoint(options.out, model, {**card, "name": options.out.stem})
    print(f"{options.out}: the mean of the weights of {len(options.checkpoints)} trainings; no scores are known of it")


if __name__ == "__main__":
    sys.exit(main())
