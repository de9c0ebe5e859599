"""One image's attention as plain arrays, and our ways to one: our own networks, arrays that are brought, files."""

from analysis.capture.brought import MAX_MAP_CELLS, require_computable
from analysis.capture.capture import Capture, attention_name
from analysis.capture.containers import SUFFIXES, CaptureFileError, require_total
from analysis.capture.derived import ROLLOUT, rollout, why_no_rollout
from analysis.capture.description import named_classes
from analysis.capture.files import (
    CaptureFile,
    load_capture,
    load_layers,
    read_capture_file,
    save_capture,
    save_layers,
)
from analysis.capture.layers import MAX_MEAN_WEIGHTS, Layer, Layers, quietly
from analysis.capture.metadata import NUMBERED, PUBLIC_SETS
from analysis.capture.network import capture_attention

__all__ = [
    "MAX_MAP_CELLS",
    "MAX_MEAN_WEIGHTS",
    "NUMBERED",
    "PUBLIC_SETS",
    "ROLLOUT",
    "SUFFIXES",
    "Capture",
    "CaptureFile",
    "CaptureFileError",
    "Layer",
    "Layers",
    "attention_name",
    "capture_attention",
    "load_capture",
    "load_layers",
    "named_classes",
    "quietly",
    "read_capture_file",
    "require_computable",
    "require_total",
    "rollout",
    "save_capture",
    "save_layers",
    "why_no_rollout",
]
