"""The segmentation network: its configuration, backbone, attention block and heads."""

from dnl.network.config import ModelConfig
from dnl.network.model import MIN_SIDE, SegmentationNetwork, SegmentationOutput, build_model

__all__ = ["MIN_SIDE", "ModelConfig", "SegmentationNetwork", "SegmentationOutput", "build_model"]
