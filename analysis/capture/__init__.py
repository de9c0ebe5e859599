"""One image's attention as plain arrays, and our ways to one: our own networks, arrays that are brought, files."""

from analysis.capture.brought import named_classes
from analysis.capture.capture import Capture, capture_attention
from analysis.capture.files import load_capture, save_capture

__all__ = ["Capture", "capture_attention", "load_capture", "named_classes", "save_capture"]
