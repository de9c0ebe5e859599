"""What travels of keys on a grid of their own, patches within a crop and queries without a place; where pins lie."""

import dataclasses
import json

import numpy as np
import pytest

from analysis import Capture
from analysis.capture import Layer, Layers
from analysis.lens import (
    asking_for,
    chosen_pixels,
    first_pixel,
    image_id,
    pack_capture,
    pack_layers,
    row_options,
    starting_pixel,
)
from analysis.lens.noise_map import noise_map_data
from analysis.measure import MeasureOptions, measure_capture
from dnl.classes import LabelSet

LABEL_SET = LabelSet("tiny", ("Sky", "Road", "Car"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)), ignore_index=3)
IMAGE_SIZE = (41, 61)


def make_capture(**changes) -> Capture:
    """6×8 queries and 3×4 keys, patches of a crop of an image of 41×61 pixels."""
    rng = np.random.default_rng(0)
    fields = {
        "query": rng.normal(size=(4, 6, 8)).astype(np.float32),
        "key": rng.normal(size=(4, 3, 4)).astype(np.float32),
        "image": rng.integers(0, 256, (*IMAGE_SIZE, 3), dtype=np.uint8),
        "labels": rng.integers(0, 4, IMAGE_SIZE, dtype=np.uint8),
        "prediction": rng.integers(0, 3, IMAGE_SIZE, dtype=np.uint8),
        "label_set": LABEL_SET,
        "key_size": (3, 4),
        "placement": "blocks",
        "crop": (4, 10, 30, 40),
        "dropped": rng.random((6, 8)).astype(np.float32),
    }
    return Capture(**(fields | changes))


def unplaced(**changes) -> Capture:
    fields = {
        "query": np.ones((4, 1, 5), np.float32),
        "dropped": None,
        "query_names": ("a", "b", "c", "d", "e"),
        "query_labels": np.array([3, 3, 1, 0, 3]),
    }
    return make_capture(**(fields | changes))


def unpack(buffer: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """The header and the arrays of the first model."""
    start = 4 + int.from_bytes(buffer[:4], "little")
    header = json.loads(buffer[4:start])
    arrays = {
        name: np.frombuffer(buffer, facts["dtype"], int(np.prod(facts["shape"])), start + facts["offset"]).reshape(
            facts["shape"]
        )
        for name, facts in header["models"][0]["arrays"].items()
    }
    return header, arrays


# --- the buffer ------------------------------------------------------------------------------------------------------


def test_grids_placement_and_crop_travel():
    capture = make_capture()
    header, arrays = unpack(pack_capture(capture))
    model = header["models"][0]
    assert (model["cells"], model["key_cells"], model["placement"]) == ([6, 8], [3, 4], "blocks")
    assert model["crop"] == [4, 10, 30, 40] and "query_names" not in model and "signed" not in model
    assert arrays["query"].shape == (4, 6, 8) and arrays["key"].shape == (4, 3, 4)
    np.testing.assert_array_equal(arrays["dropped"], capture.dropped)
    for name, of in (("key_labels", capture.labels), ("key_prediction", capture.prediction)):
        votes = capture.key_grid.votes(of, 3, 3)
        np.testing.assert_array_equal(arrays[name], np.where(votes == 3, header["no_class"], votes))
    scores = capture.query.reshape(4, -1).T.astype(float) @ capture.key.reshape(4, -1)
    np.testing.assert_allclose(arrays["log_sums"], np.log(np.exp(scores).sum(axis=1)))


def test_the_usual_capture_carries_nothing_of_this():
    usual = make_capture(
        key=np.ones((4, 6, 8), np.float32), key_size=None, placement="corners", crop=None, dropped=None
    )
    header, arrays = unpack(pack_capture(usual))
    assert set(header["models"][0]) == {"cells", "gate", "lr_kernel", "lr_weights", "name", "health", "arrays"}
    assert set(arrays) == {"query", "key", "log_sums", "cell_labels", "prediction", "cell_prediction"}


def test_labels_of_keys_are_those_that_there_are():
    _, arrays = unpack(pack_capture(make_capture(labels=None)))
    assert "key_labels" not in arrays and "key_prediction" in arrays
    _, arrays = unpack(pack_capture(make_capture(labels=None, prediction=None)))
    assert not {"key_labels", "key_prediction"} & set(arrays)


def test_a_finished_map_may_have_as_many_weights_as_a_square_one(monkeypatch):
    finished = make_capture(query=None, key=None, attention=np.ones((48, 12), np.float32), attention_size=(6, 8))
    monkeypatch.setattr("analysis.lens.payload.MAX_MAP_CELLS", 24)
    assert unpack(pack_capture(finished))[1]["attention"].shape == (48, 12)
    monkeypatch.setattr("analysis.lens.payload.MAX_MAP_CELLS", 23)
    with pytest.raises(ValueError, match="attention map of 48 queries and 12 keys; the lens shows up to 23"):
        pack_capture(finished)


def test_weights_below_nothing_are_marked():
    weights = np.ones((48, 12), np.float32)
    weights[3, 4] = -0.1
    finished = make_capture(query=None, key=None, attention=weights, attention_size=(6, 8))
    assert unpack(pack_capture(finished))[0]["models"][0]["signed"] is True


def test_what_is_odd_of_a_capture_travels():
    assert "notes" not in unpack(pack_capture(make_capture()))[0]["models"][0]
    odd = make_capture(notes=("Its rows sum to 0.98.",))
    assert unpack(pack_capture(odd))[0]["models"][0]["notes"] == ["Its rows sum to 0.98."]


def test_queries_without_a_place_travel_by_name():
    header, arrays = unpack(pack_capture(unplaced()))
    assert header["models"][0]["query_names"] == ["a", "b", "c", "d", "e"]
    assert header["models"][0]["cells"] == [1, 5] and header["starting_pixel"] == [0, 2]
    none = header["no_class"]
    assert arrays["cell_labels"].tolist() == [[none, none, 1, 0, none]]
    with pytest.raises(ValueError, match="the keys of 'image' have no place"):
        pack_capture(unplaced(key=np.ones((4, 1, 5), np.float32), key_size=None))


def test_two_models_must_be_askable_alike():
    first = make_capture()
    with pytest.raises(ValueError, match="queries of one of the two models have no place"):
        pack_capture(first, unplaced())
    with pytest.raises(ValueError, match="queries have other names"):
        pack_capture(unplaced(), unplaced(query_names=("a", "b", "c", "d", "f")))
    with pytest.raises(ValueError, match="parts of the image that have nothing in common"):
        pack_capture(first, make_capture(crop=(34, 0, 7, 61)))
    pack_capture(unplaced(), unplaced(query_labels=None))


def test_the_start_is_where_both_models_saw_the_image():
    first = make_capture(labels=None, prediction=None)
    assert unpack(pack_capture(first))[0]["starting_pixel"] == list(first.grid.pixel_at(2, 3))
    below = make_capture(labels=None, prediction=None, crop=(30, 0, 11, 61))
    assert unpack(pack_capture(first, below))[0]["starting_pixel"] == [30, first.grid.pixel_at(2, 3)[1]]


# --- pins and choices ------------------------------------------------------------------------------------------------


def test_layers_of_several_grids_have_one_start():
    labels = np.zeros((48, 60), np.uint8)
    labels[:20, :24] = 1
    two = LabelSet("two", ("a", "b"), ((0, 0, 0), (9, 9, 9)), 255)
    known = {"image": np.zeros((48, 60, 3), np.uint8), "labels": labels, "label_set": two}

    def layer(name: str, *cells: int) -> Layer:
        arrays = {part: np.ones((1, 2, *cells), np.float32) for part in ("query", "key")}
        return Layer(name, cells, cells, (0,), arrays, known)

    layers = Layers((layer("fine", 24, 30), layer("coarse", 4, 5)))
    captures = [layer.capture(0) for layer in layers]
    assert starting_pixel(captures[0]) != starting_pixel(captures[1])
    start = first_pixel(asking_for(pack_layers(layers), {"id": "any"}))
    assert start == starting_pixel(captures[0])
    assert [chosen_pixels(capture, {}, start) for capture in captures] == [[start], [start]]
    assert chosen_pixels(captures[1], {image_id(captures[1]): [[40, 9]]}, start) == [(40, 9)]


def test_the_start_lies_in_its_cell():
    for changes in ({}, {"placement": "corners"}, {"crop": None}, {"labels": None, "prediction": None}):
        capture = make_capture(**changes)
        y, x = starting_pixel(capture)
        assert capture.grid.pixel_at(*capture.grid.cell_at(y, x)) == (y, x)


def test_pins_count_where_the_model_saw_the_image():
    capture = make_capture()
    pins = {image_id(capture): [[3, 20], [4, 10], [33, 49], [34, 20], [20, 50]]}
    assert chosen_pixels(capture, pins) == [(4, 10), (33, 49)]
    assert chosen_pixels(capture, {image_id(capture): [[0, 0]]}) == [starting_pixel(capture)]
    for pixel in chosen_pixels(capture, pins):
        capture.cell_at(*pixel)


def test_pins_of_queries_without_a_place_are_their_own():
    capture = unplaced()
    placed = make_capture()
    assert image_id(capture) != image_id(placed)
    assert image_id(capture) != image_id(unplaced(query_names=("a", "b", "c", "d", "f")))
    assert image_id(capture) == image_id(unplaced(query_labels=None))
    pins = {image_id(placed): [[0, 1]], image_id(capture): [[0, 4], [1, 0], [0, 5], [0, 0]]}
    assert chosen_pixels(capture, pins) == [(0, 4), (0, 0)]
    assert chosen_pixels(capture, {}) == [(0, 2)] == [starting_pixel(capture)]
    assert starting_pixel(unplaced(query_labels=None)) == (0, 0)
    assert starting_pixel(unplaced(labels=None, prediction=None, query_labels=None)) == (0, 0)


def test_what_keys_elsewhere_cannot_have_is_left_out():
    capture = make_capture()
    off = {"gate": None, "lr_kernel": None, "lr_weights": "learnt", "temperature": 1.0}
    assert row_options(capture, {"gate": "oracle", "retention": "learnt"}) == off
    boxed = {"lr_kernel": 5, "lr_weights": "box"}
    assert row_options(capture, {"retention": "box", "kernel": 5, "temperature": 2}) == off | boxed | {"temperature": 2}
    own = make_capture(gate="sigmoid", lr_kernel=3)
    assert row_options(own, {}) == off
    box = make_capture(lr_kernel=3, lr_weights="box")
    assert row_options(box, {"retention": "learnt"}) == off | {"lr_kernel": 3, "lr_weights": "box"}


def test_a_request_may_name_queries():
    buffer = asking_for(pack_capture(unplaced()), {"id": 1, "pins": [[0, 3]]})
    assert unpack(buffer)[0]["request"]["pins"] == [[0, 3]]


# --- the noise map ---------------------------------------------------------------------------------------------------


def test_the_noise_map_says_how_its_cells_lie():
    patches = make_capture(key=np.ones((4, 6, 8), np.float32), key_size=None, dropped=None)
    report = measure_capture(patches, MeasureOptions(), detection=False)
    data = noise_map_data(patches, report, "raw", "interclass_noise", words="noise")
    assert (data["placement"], data["crop"]) == ("blocks", [4, 10, 30, 40])
    usual = dataclasses.replace(patches, placement="corners", crop=None)
    data = noise_map_data(usual, report, "raw", "interclass_noise", words="noise")
    assert not {"placement", "crop"} & set(data)
    with pytest.raises(ValueError, match="have no place on the image"):
        noise_map_data(unplaced(), report, "raw", "interclass_noise", words="noise")
