"""The Denoised Non-local network: model, data sets, training and evaluation."""

from dnl import attention
from dnl.checkpoints import list_checkpoints, load_checkpoint
from dnl.network import ModelConfig, SegmentationOutput, build_model

__version__ = "0.1.0"
__all__ = ["ModelConfig", "SegmentationOutput", "attention", "build_model", "list_checkpoints", "load_checkpoint"]
