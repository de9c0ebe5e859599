"""A small capture with pinned pixels, for the tests of this room."""

import numpy as np

from analysis import Capture
from analysis.options import MapOptions
from analysis.pins.measured import PinnedPixels, Source, measure_pins
from dnl.classes import LabelSet

LABEL_SET = LabelSet("tiny", ("a", "=b"), ((200, 0, 0), (0, 0, 200)), ignore_index=255)
FIRST, SECOND = Source("one", "ab" * 32), Source("two", "cd" * 32)
PIXELS = [(0, 0), (46, 82), (20, 41)]


def make_capture(seed: int = 0, **changes) -> Capture:
    """6×11 cells over a photo of 47×83 pixels: left class 0, right class 1, the lower left corner without a class."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((47, 83), np.uint8)
    labels[:, 42:] = 1
    labels[40:, :20] = 255
    fields = {
        "query": rng.normal(size=(5, 6, 11)).astype(np.float32),
        "key": rng.normal(size=(5, 6, 11)).astype(np.float32),
        "class_probs": rng.dirichlet(np.ones(2), (6, 11)).transpose(2, 0, 1).astype(np.float32),
        "image": np.random.default_rng(1).integers(0, 256, (47, 83, 3), dtype=np.uint8),
        "labels": labels,
        "prediction": np.zeros((47, 83), np.uint8),
        "label_set": LABEL_SET,
        "gate": "similarity",
        "lr_kernel": 3,
        "name": "a street",
    }
    return Capture(**(fields | changes))


OPTIONS = MapOptions("similarity", 3, "learnt", 2.0)
PLAIN = MapOptions(None, None, "learnt", 1.0)


def make_views() -> list[PinnedPixels]:
    return [
        measure_pins(make_capture(), PIXELS, OPTIONS, FIRST),
        measure_pins(make_capture(2, gate=None, lr_kernel=None), PIXELS, PLAIN, SECOND),
    ]


def make_pooled(**changes) -> Capture:
    """6×11 queries and 2×4 keys, blocks of the photo."""
    rng = np.random.default_rng(3)
    fields = {
        "query": rng.normal(size=(5, 6, 11)).astype(np.float32),
        "key": rng.normal(size=(5, 2, 4)).astype(np.float32),
        "key_size": (2, 4),
        "placement": "blocks",
        "class_probs": None,
        "gate": None,
        "lr_kernel": None,
        "dropped": np.linspace(0, 0.5, 66, dtype=np.float32).reshape(6, 11),
    }
    return make_capture(**(fields | changes))


def make_objects() -> Capture:
    """Three object queries: of class 0, of none, of class 1."""
    query = np.random.default_rng(4).normal(size=(5, 1, 3)).astype(np.float32)
    names = ("=first", "second", "third")
    return make_pooled(query=query, query_names=names, query_labels=np.array([0, 255, 1]), dropped=None)
