"""Attention as numbers and pictures: capture a model's attention on an image, read its maps, measure their noise."""

from analysis.capture import Capture, capture_attention

__all__ = ["Capture", "capture_attention"]
