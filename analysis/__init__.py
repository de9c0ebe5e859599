"""Attention as numbers and pictures: capture a model's attention on an image, read its maps, measure their noise."""

from analysis.bringing import named_classes
from analysis.capture import Capture, capture_attention
from analysis.capture_files import load_capture, save_capture
from analysis.hooks import hook

__all__ = ["Capture", "capture_attention", "hook", "load_capture", "named_classes", "save_capture"]
