"""Attention as numbers and pictures: capture a model's attention on an image, read its maps, measure their noise."""

from analysis.capture import (
    Capture,
    Layers,
    capture_attention,
    load_capture,
    load_layers,
    named_classes,
    save_capture,
    save_layers,
)
from analysis.catch import hook, mend, watch

__all__ = [
    "Capture",
    "Layers",
    "capture_attention",
    "hook",
    "load_capture",
    "load_layers",
    "mend",
    "named_classes",
    "save_capture",
    "save_layers",
    "watch",
]
