"""Rollout over layers, against the formula written out entry by entry."""

import dataclasses

import numpy as np
import pytest

from analysis.capture import Layer, Layers, derived
from analysis.capture.derived import ROLLOUT, rollout
from analysis.maps import attention_rows

HEIGHT, WIDTH, TOKENS = 2, 3, 7


def layer(seed: int, **options) -> Layer:
    rng = np.random.default_rng(seed)
    arrays = {part: rng.normal(size=(2, TOKENS, 4)).astype(np.float32) for part in ("query", "key")}
    size = (HEIGHT, WIDTH)
    return Layer(f"b.{seed}", size, size, (0, 1), arrays, {"class_tokens": 1, "scale": 0.5, "name": "x", **options})


def written_out(layers: list[Layer]) -> np.ndarray:
    """tokens×tokens, in plain loops."""
    found = [[float(i == j) for j in range(TOKENS)] for i in range(TOKENS)]
    for each in layers:
        query, key = (each.arrays[part].astype(float) for part in ("query", "key"))
        rows = np.zeros((TOKENS, TOKENS))
        for head in range(2):
            for i in range(TOKENS):
                powers = [np.exp(0.5 * sum(query[head, i] * key[head, j])) for j in range(TOKENS)]
                for j in range(TOKENS):
                    rows[i, j] += powers[j] / sum(powers) / 2
        step = 0.5 * rows + 0.5 * np.eye(TOKENS)
        found = [[sum(step[i, k] * found[k][j] for k in range(TOKENS)) for j in range(TOKENS)] for i in range(TOKENS)]
    return np.array(found)


def test_rollout_is_the_product_of_the_layers_over_all_tokens():
    layers = [layer(seed) for seed in range(3)]
    found = rollout(Layers(tuple(layers)))
    truth = written_out(layers)
    np.testing.assert_allclose(found.arrays["attention"][0], truth, atol=1e-6)
    capture = found.capture(0)
    cells = truth[1:, 1:]
    np.testing.assert_allclose(capture.attention, cells / cells.sum(1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(capture.dropped.ravel(), truth[1:, 0], atol=1e-6)
    assert capture.layer == ROLLOUT and "derived" in ROLLOUT
    assert any(
        note.startswith("This map is derived: the attention rollout of 3 layers, b.0 to b.2") for note in capture.notes
    )


def test_finished_maps_and_maps_of_channels_give_the_same():
    layers = [layer(seed) for seed in range(2)]
    plain = [
        dataclasses.replace(each, arrays={part: array[:, 1:] for part, array in each.arrays.items()}) for each in layers
    ]
    plain = [dataclasses.replace(each, options=each.options | {"class_tokens": 0}) for each in plain]
    maps = [
        dataclasses.replace(
            each,
            arrays={part: array.swapaxes(1, 2).reshape(2, 4, HEIGHT, WIDTH) for part, array in each.arrays.items()},
        )
        for each in plain
    ]
    finished = [
        dataclasses.replace(each, arrays={"attention": np.stack([attention_rows(each.capture(head)).raw.reshape(6, 6)
                                                                 for head in each.heads])})
        for each in plain
    ]  # fmt: skip
    truth = rollout(Layers(tuple(plain))).arrays["attention"]
    np.testing.assert_allclose(rollout(Layers(tuple(finished))).arrays["attention"], truth, atol=1e-6)
    np.testing.assert_allclose(rollout(Layers(tuple(maps))).arrays["attention"], truth, atol=1e-7)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (layer(1, class_tokens=0), r"b\.1 has 2×3 cells but b\.0 2×3 cells and 1 more"),
        (layer(1, key_size=(1, 2)), r"and those of b\.1 are others"),
        (layer(1, signed=True), r"b\.1 has weights below 0"),
        (layer(1, dropped=np.zeros((2, 3))), r"those of b\.1 that are no cells are not there any more"),
        (dataclasses.replace(layer(1), cells=(3, 2)), r"b\.1 has 3×2 cells and 1 more but b\.0 2×3 cells and 1 more"),
    ],
)
def test_layers_that_do_not_share_their_tokens_are_refused(second, words):
    with pytest.raises(ValueError, match=words):
        rollout(Layers((layer(0), second)))


def test_one_layer_and_too_many_products_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="goes over several layers, and there is one"):
        rollout(Layers((layer(0),)))
    monkeypatch.setattr(derived, "MAX_PRODUCTS", 100)
    with pytest.raises(ValueError, match=r"rollout of 2 layers of 7 tokens takes 1e.03 multiplications, more than 1e"):
        rollout(Layers((layer(0), layer(1))))
