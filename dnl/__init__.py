"""The Denoised Non-local network: model, data sets, training and evaluation."""

from dnl import attention
from dnl.checkpoints import list_checkpoints, load_checkpoint
from dnl.files import VERSION as __version__
from dnl.network import ModelConfig, SegmentationOutput, build_model

__all__ = [
    "ModelConfig",
    "SegmentationOutput",
    "__version__",
    "attention",
    "build_model",
    "list_checkpoints",
    "load_checkpoint",
]
