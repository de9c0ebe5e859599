"""One image's attention as plain arrays, and our ways to one: our own networks, arrays that are brought, files."""

from analysis.capture.brought import MAX_MAP_CELLS, require_computable
from analysis.capture.capture import Capture
from analysis.capture.description import named_classes
from analysis.capture.files import (
    NUMBERED,
    CaptureFile,
    CaptureFileError,
    load_capture,
    read_capture_file,
    save_capture,
)
from analysis.capture.network import capture_attention

__all__ = [
    "MAX_MAP_CELLS",
    "NUMBERED",
    "Capture",
    "CaptureFile",
    "CaptureFileError",
    "capture_attention",
    "load_capture",
    "named_classes",
    "read_capture_file",
    "require_computable",
    "save_capture",
]
