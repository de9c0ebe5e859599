"""The segmentation network: its configuration, backbone, attention block and heads."""

from dnl.network.block import ATTENTION_SOURCES, DenoisedNonLocal2d, class_distribution
from dnl.network.config import ModelConfig
from dnl.network.model import MIN_SIDE, SegmentationNetwork, SegmentationOutput, assemble, build_model, resize

__all__ = [
    "ATTENTION_SOURCES",
    "MIN_SIDE",
    "DenoisedNonLocal2d",
    "ModelConfig",
    "SegmentationNetwork",
    "SegmentationOutput",
    "assemble",
    "build_model",
    "class_distribution",
    "resize",
]
