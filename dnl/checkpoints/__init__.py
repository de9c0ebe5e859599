"""Weights in files: our own with their cards, and those of others by the names they use."""

from dnl.checkpoints.backbones import load_backbone, load_torchvision_backbone
from dnl.checkpoints.card import CheckpointError, differing_classes, label_set_of, recipes_of
from dnl.checkpoints.file import (
    SUFFIX,
    checkpoint_hash,
    checkpoint_path,
    list_checkpoints,
    load_checkpoint,
    load_strictly,
    read_card,
    save_checkpoint,
)
from dnl.checkpoints.reference import load_reference

__all__ = [
    "SUFFIX",
    "CheckpointError",
    "checkpoint_hash",
    "checkpoint_path",
    "differing_classes",
    "label_set_of",
    "list_checkpoints",
    "load_backbone",
    "load_checkpoint",
    "load_reference",
    "load_strictly",
    "load_torchvision_backbone",
    "read_card",
    "recipes_of",
    "save_checkpoint",
]
