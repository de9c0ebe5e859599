"""Training a network: recipes, losses, batches, the run and its folder."""

from dnl.training.batches import open_split, training_batches
from dnl.training.config import TrainConfig, from_dict, override, with_epochs
from dnl.training.engine import (
    GroupedScores,
    NonFiniteLoss,
    build_optimizer,
    evaluate,
    evaluate_groups,
    train_one_epoch,
)
from dnl.training.losses import lovasz_softmax
from dnl.training.recipes import RECIPES, describe, recipe
from dnl.training.run import train
from dnl.training.runs import RunError, RunStopped, is_run, resume, start
from dnl.training.speed import interleaved_times, training_update

__all__ = [
    "RECIPES",
    "GroupedScores",
    "NonFiniteLoss",
    "RunError",
    "RunStopped",
    "TrainConfig",
    "build_optimizer",
    "describe",
    "evaluate",
    "evaluate_groups",
    "from_dict",
    "interleaved_times",
    "is_run",
    "lovasz_softmax",
    "open_split",
    "override",
    "recipe",
    "resume",
    "start",
    "train",
    "train_one_epoch",
    "training_batches",
    "training_update",
    "with_epochs",
]
