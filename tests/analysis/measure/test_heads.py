"""Noise by layer and head, on maps whose noise is known by hand."""

import numpy as np
import pytest

from analysis.capture import Layer, Layers
from analysis.measure import noise_of_heads
from dnl.classes import LabelSet

LABELS = np.array([[0, 0, 1, 1]])
TWO = LabelSet("two", ("a", "b"), ((0, 0, 0),) * 2, 255)


def layers(**options) -> Layers:
    """Heads: an even spread; all on the own class; all on the other class."""
    same = (LABELS.ravel()[:, None] == LABELS.ravel()).astype(np.float32)
    maps = np.stack([np.full((4, 4), 0.25, np.float32), same / 2, (1 - same) / 2])
    known = {"labels": LABELS, "label_set": TWO, **options}
    first = Layer("b.0", (1, 4), (1, 4), (0, 1), {"attention": maps[:2]}, known)
    return Layers((first, Layer("b.1", (1, 4), (1, 4), (7,), {"attention": maps[2:]}, known)))


def test_each_head_has_its_noise():
    even, own, other = noise_of_heads(layers())
    assert [(each.layer, each.head, each.queries) for each in (even, own, other)] == [
        ("b.0", 0, 4), ("b.0", 1, 4), ("b.1", 7, 4),
    ]  # fmt: skip
    # Without the query's own cell there is one cell of its class and two others.
    assert (even.interclass_noise, even.times_chance) == (pytest.approx(2 / 3), pytest.approx(1))
    assert (own.interclass_noise, own.times_chance) == (0, 0)
    assert (other.interclass_noise, other.times_chance) == (1, pytest.approx(1.5))


def test_what_has_no_noise_is_refused():
    with pytest.raises(ValueError, match="neither labels nor a prediction to measure noise against"):
        noise_of_heads(layers(labels=None, label_set=None))
    negative = layers(signed=True)
    negative.layers[0].arrays["attention"][0, 0, 1] = -0.1
    with pytest.raises(ValueError, match=r"head 0 of 'b\.0' has weights below 0"):
        noise_of_heads(negative)
