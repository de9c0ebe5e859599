"""Another network, small and trained, worth looking at: a vision transformer that segments street scenes."""

from analysis.examples.transformer import VisionTransformer
from analysis.examples.weights import FILE, read_card, save_example, vision_transformer

__all__ = ["FILE", "VisionTransformer", "read_card", "save_example", "vision_transformer"]
