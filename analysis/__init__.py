"""Attention as numbers and pictures: capture a model's attention on an image, read its maps, measure their noise."""

from analysis.capture import Capture, capture_attention, load_capture, named_classes, save_capture
from analysis.catch import hook, mend, watch

__all__ = [
    "Capture",
    "capture_attention",
    "hook",
    "load_capture",
    "mend",
    "named_classes",
    "save_capture",
    "watch",
]
