"""Weights in files: our own with their cards, and those of others by the names they use."""

from dnl.checkpoints.file import (
    SUFFIX,
    CheckpointError,
    checkpoint_hash,
    checkpoint_path,
    label_set_of,
    list_checkpoints,
    load_checkpoint,
    load_reference,
    load_torchvision_backbone,
    read_card,
    save_checkpoint,
)

__all__ = [
    "SUFFIX",
    "CheckpointError",
    "checkpoint_hash",
    "checkpoint_path",
    "label_set_of",
    "list_checkpoints",
    "load_checkpoint",
    "load_reference",
    "load_torchvision_backbone",
    "read_card",
    "save_checkpoint",
]
