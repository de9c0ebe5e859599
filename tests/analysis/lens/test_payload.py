import dataclasses
import gc
import json
import pickle
import weakref

import numpy as np
import pytest

from analysis import Capture
from analysis.geometry import pixel_to_cell
from analysis.lens import (
    PIN_LIMIT,
    asking_for,
    chosen_pixels,
    image_id,
    known_choices,
    known_look,
    known_pins,
    pack_capture,
    row_options,
    starting_pixel,
)
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from dnl.classes import LabelSet

LABEL_SET = LabelSet("tiny", ("Sky", "Road", "Car"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)), ignore_index=3)


def make_capture(cell_labels=None, **changes) -> Capture:
    """A capture of 5×7 cells over an image of 41×61 pixels; labels are given cell by cell."""
    rng = np.random.default_rng(0)
    height, width = 41, 61
    labels = rng.integers(0, 4, (height, width), dtype=np.uint8)
    if cell_labels is not None:
        cells = [[pixel_to_cell(y, x, (height, width), (5, 7)) for x in range(width)] for y in range(height)]
        labels = np.array([[cell_labels[cell] for cell in row] for row in cells], np.uint8)
    fields = {
        "query": rng.normal(size=(4, 5, 7)).astype(np.float32),
        "key": rng.normal(size=(4, 5, 7)).astype(np.float32),
        "class_probs": rng.dirichlet(np.ones(3), (5, 7)).transpose(2, 0, 1).astype(np.float32),
        "image": rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "labels": labels,
        "prediction": rng.integers(0, 3, (height, width), dtype=np.uint8),
        "label_set": LABEL_SET,
        "gate": "sigmoid",
        "lr_kernel": 3,
        "name": "tiny",
    }
    return Capture(**(fields | changes))


def unpack(buffer: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    length = int.from_bytes(buffer[:4], "little")
    header = json.loads(buffer[4 : 4 + length])
    model = header["models"][0]
    return header | {name: model[name] for name in model if name != "arrays"}, arrays_at(buffer, header, model)


def arrays_at(buffer: bytes, header: dict, model: dict) -> dict[str, np.ndarray]:
    """The arrays of the image and of one of the models."""
    start = 4 + int.from_bytes(buffer[:4], "little")
    return {
        name: np.frombuffer(
            buffer, np.dtype(facts["dtype"]), int(np.prod(facts["shape"])), start + facts["offset"]
        ).reshape(facts["shape"])
        for name, facts in (header["arrays"] | model["arrays"]).items()
    }


def test_every_array_comes_back_bit_for_bit():
    capture = make_capture()
    header, arrays = unpack(pack_capture(capture))
    for name in ("query", "key", "class_probs", "image", "prediction"):
        np.testing.assert_array_equal(arrays[name], getattr(capture, name))
    assert (header["cells"], header["image_size"]) == ([5, 7], [41, 61])
    assert (header["gate"], header["lr_kernel"], header["lr_weights"]) == ("sigmoid", 3, "learnt")
    assert arrays["colours"].shape == (len(header["colormaps"]), 256, 3)


def test_arrays_lie_where_a_browser_can_map_them():
    buffer = pack_capture(make_capture())
    header, _ = unpack(buffer)
    assert (4 + int.from_bytes(buffer[:4], "little")) % 8 == 0
    assert all(
        facts["offset"] % 8 == 0 for facts in [*header["arrays"].values(), *header["models"][0]["arrays"].values()]
    )


def test_values_that_are_no_class_become_one_value():
    capture = make_capture()
    header, arrays = unpack(pack_capture(capture))
    assert (arrays["labels"][capture.labels == 3] == header["no_class"]).all()
    np.testing.assert_array_equal(arrays["labels"][capture.labels < 3], capture.labels[capture.labels < 3])
    expected = np.where(capture.cell_labels == 3, header["no_class"], capture.cell_labels)
    np.testing.assert_array_equal(arrays["cell_labels"], expected)


def test_an_unlabelled_photo_carries_no_labels():
    _, arrays = unpack(pack_capture(make_capture(labels=None)))
    assert "labels" not in arrays and "cell_labels" not in arrays and "cell_prediction" in arrays


def test_the_buffer_depends_on_image_and_model_alone():
    capture = make_capture()
    assert pack_capture(capture) == pack_capture(make_capture())
    same_weights_other_gate = dataclasses.replace(capture, gate="binary")
    ids = {unpack(pack_capture(each))[0]["payload_id"] for each in (capture, same_weights_other_gate)}
    assert len(ids) == 2


def test_the_image_id_is_the_image_s_alone():
    capture = make_capture()
    assert image_id(capture) == image_id(dataclasses.replace(capture, query=-capture.query, labels=None))
    assert image_id(capture) != image_id(dataclasses.replace(capture, image=255 - capture.image))


def test_what_the_lens_needs_is_named():
    with pytest.raises(ValueError, match="has no image to point at"):
        pack_capture(make_capture(image=None))
    with pytest.raises(ValueError, match="has class_probs but no label_set"):
        pack_capture(make_capture(labels=None, prediction=None, label_set=None))


def test_queries_and_keys_alone_are_enough():
    bare = make_capture(
        image=None, labels=None, prediction=None, class_probs=None, label_set=None, gate=None, lr_kernel=None
    ).with_image()
    header, arrays = unpack(pack_capture(bare))
    assert set(arrays) == {"image", "query", "key", "log_sums", "colours", "difference_colours"}
    assert (header["class_names"], header["image_size"], header["starting_pixel"]) == ([], [5, 7], [2, 3])
    assert row_options(bare, {"gate": "binary"})["gate"] is None
    assert chosen_pixels(bare, {image_id(bare): [[4, 6]]}) == [(4, 6)]


def test_a_finished_map_travels_in_place_of_query_and_key(monkeypatch):
    rows = np.random.default_rng(0).random((35, 35))
    capture = Capture.from_attention(rows, 5, 7, labels=np.zeros((5, 7), int)).with_image()
    _, arrays = unpack(pack_capture(capture))
    np.testing.assert_array_equal(arrays["attention"], rows.astype(np.float32))
    assert "query" not in arrays and "class_probs" not in arrays
    options = row_options(capture, {"gate": "oracle", "retention": "learnt"})
    assert options == {
        "gate": "oracle",
        "lr_kernel": None,
        "lr_weights": "box",
        "temperature": 1.0,
    }  # learnt weights need query and key
    assert row_options(capture, {"retention": "box"})["lr_kernel"] == 3
    monkeypatch.setattr("analysis.lens.payload.MAX_MAP_CELLS", 34)
    with pytest.raises(ValueError, match=r"finished attention map of 35 cells; the lens shows up to 34"):
        pack_capture(capture)


def test_the_start_shows_the_method_at_work():
    """Two halves; every query but one attends to its own half alone, and that one to the other, which GR mends."""
    cells = np.zeros((6, 8), np.uint8)
    cells[:, 4:] = 1
    labels = np.kron(cells, np.ones((4, 4), np.uint8))
    noisy = (3, 2)
    query, key = np.zeros((2, 6, 8), np.float32), np.zeros((2, 6, 8), np.float32)
    key[cells, np.arange(6)[:, None], np.arange(8)] = 1
    query[cells, np.arange(6)[:, None], np.arange(8)] = 10
    query[:, *noisy] = 1, 2
    image = np.zeros((24, 32, 3), np.uint8)
    probs = np.eye(3, dtype=np.float32)[cells].transpose(2, 0, 1)
    capture = make_capture(
        query=query, key=key, class_probs=probs, gate="binary", image=image, labels=labels, prediction=labels
    )
    raw, _, retained = (
        query_metrics(rows, cells, [3 * 8 + 2], ignore_index=255).interclass_noise[0]
        for rows in attention_rows(capture, [3 * 8 + 2])
    )
    assert raw > 0.7 and retained < 0.4
    assert pixel_to_cell(*starting_pixel(capture), (24, 32), (6, 8)) == noisy
    # Without GR and LR there is nothing to mend: the centre, as ever.
    plain = make_capture(
        query=query, key=key, class_probs=None, gate=None, lr_kernel=None, image=image, labels=labels, prediction=labels
    )
    assert pixel_to_cell(*starting_pixel(plain), (24, 32), (6, 8)) == (2, 2)


def test_the_start_lies_inside_a_region():
    cells = np.zeros((5, 7), np.uint8)
    cells[3:] = 1
    cells[0:3, 4:7] = 2
    none = {"gate": None, "lr_kernel": None}  # nothing is mended
    # Three classes that all fill more than a fifth. Cell (1, 2) is the nearest to the centre whose 8 neighbours agree;
    # a cell is 10 pixels.
    assert starting_pixel(make_capture(cells, **none)) == (10, 20)


def test_the_start_prefers_a_small_class_to_a_nearer_background():
    cells = np.zeros((9, 12), np.uint8)
    cells[1:5, 1:5] = 2  # 16 of 108 cells
    labels = np.kron(cells, np.ones((8, 8), np.uint8))
    capture = make_capture(
        query=np.zeros((4, 9, 12), np.float32),
        key=np.zeros((4, 9, 12), np.float32),
        gate=None,
        lr_kernel=None,
        image=np.zeros((72, 96, 3), np.uint8),
        labels=labels,
        prediction=labels,
    )
    y, x = starting_pixel(capture)
    row, column = pixel_to_cell(y, x, (72, 96), (9, 12))
    assert capture.cell_labels[row, column] == 2 and (row, column) == (3, 3)


def test_the_start_is_the_centre_where_nothing_is_labelled():
    cells = np.full((5, 7), 3, np.uint8)
    assert starting_pixel(make_capture(cells)) == (20, 30)


def test_the_start_is_worked_out_once_for_a_capture_and_what_a_cache_hands_out_of_it(monkeypatch):
    capture = make_capture()
    start = starting_pixel(capture)
    monkeypatch.setattr("analysis.lens.start._starting_pixel", lambda capture: (-1, -1))
    assert starting_pixel(capture) == starting_pixel(pickle.loads(pickle.dumps(capture))) == start
    assert starting_pixel(dataclasses.replace(capture, labels=None)) == (-1, -1)  # another capture
    kept = weakref.ref(capture)
    del capture
    gc.collect()
    assert kept() is None


def test_a_pin_counts_on_its_own_image_alone():
    capture = make_capture()
    start = [starting_pixel(capture)]
    assert chosen_pixels(capture, {"another": [[1, 1]], image_id(capture): [[40, 60]]}) == [(40, 60)]
    for pins in (None, {}, {"another": [[1, 1]]}, {image_id(capture): []}, {image_id(capture): [[41, 0]]}):
        assert chosen_pixels(capture, pins) == start


def test_choices_become_options_of_attention_rows():
    capture = make_capture()
    own = {"gate": "sigmoid", "lr_kernel": 3, "lr_weights": "learnt", "temperature": 1.0}
    assert row_options(capture, None) == own == row_options(capture, {"gate": None, "retention": None})
    assert row_options(capture, {"gate": "off", "retention": "off"}) == own | {"gate": None, "lr_kernel": None}
    assert row_options(capture, {"gate": "oracle", "retention": "box"}) == own | {"gate": "oracle", "lr_weights": "box"}
    assert row_options(capture, {"gate": "no such", "retention": "none"}) == own
    attention_rows(capture, [0], **row_options(capture, {"gate": "oracle", "retention": "box"}))


def test_choices_that_a_capture_cannot_have_fall_back():
    plain = make_capture(labels=None, gate=None, lr_kernel=None)
    assert row_options(plain, {"gate": "oracle"})["gate"] is None
    assert row_options(plain, {"retention": "learnt"})["lr_kernel"] == 3


def test_a_kernel_and_a_temperature_are_taken_over():
    capture = make_capture()
    assert row_options(capture, {"kernel": 5, "temperature": 2})["lr_kernel"] == 5
    assert row_options(capture, {"kernel": 7, "retention": "box"})["lr_kernel"] == 7
    assert row_options(capture, {"kernel": 5, "temperature": 0.5})["temperature"] == 0.5
    assert row_options(capture, {"kernel": 5, "retention": "off"})["lr_kernel"] is None
    assert row_options(make_capture(gate=None, lr_kernel=None), {"kernel": 5})["lr_kernel"] is None
    finished = Capture.from_attention(np.ones((35, 35)), 5, 7).with_image()
    assert row_options(finished, {"temperature": 3.0})["temperature"] == 1.0
    attention_rows(capture, [3], **row_options(capture, {"kernel": 5, "temperature": 2}))


NONSENSE = (None, True, -1, float("nan"), float("inf"), "<b>", "7", [], [3], {}, {"a": 1}, (1, 2, 3), 10**30, b"x")


@pytest.mark.parametrize("value", NONSENSE)
def test_nothing_from_outside_is_trusted(value):
    capture = make_capture()
    own, start = row_options(capture, None), [starting_pixel(capture)]
    assert row_options(capture, value) == own
    for name in ("gate", "retention", "kernel", "temperature"):
        assert row_options(capture, {name: value}) == own
    for pins in (value, {image_id(capture): value}, {image_id(capture): [value]}, {image_id(capture): [[value, 1]]}):
        assert chosen_pixels(capture, pins) == start
    assert known_look(value) == {}
    for name in ("scale", "range", "clip", "colormap", "direction", "photoOpacity", "overlay"):
        assert known_look({name: value, "no such": 1}) == {}
    assert "no such" not in known_choices({"no such": value})


def test_pins_keep_their_order_and_their_number():
    capture = make_capture()
    image = image_id(capture)
    pins = [[40, 60], [0, 0], [40.0, 60.0], [41, 0], [3, 61], [2, 5]]
    assert chosen_pixels(capture, {image: pins}) == [(40, 60), (0, 0), (2, 5)]
    assert known_pins({image: [[n, 0] for n in range(20)]}) == {image: [(n, 0) for n in range(PIN_LIMIT)]}
    assert known_pins({3: [[1, 1]], "other": "no"}) == {"other": []}


def test_log_sums_are_those_of_every_row():
    """Also where the scores are far beyond what exp can hold."""
    capture = make_capture(query=np.float32(300) * make_capture().query)
    _, arrays = unpack(pack_capture(capture))
    scores = np.einsum("dyx,dvw->yxvw", capture.query.astype(float), capture.key.astype(float)).reshape(35, 35)
    assert arrays["log_sums"].dtype == np.float64 and np.abs(scores).max() > 800
    rows = attention_rows(capture, gate=None, lr_kernel=None).raw.reshape(35, 35)
    np.testing.assert_allclose(np.exp(scores - arrays["log_sums"][:, None]), rows, rtol=1e-9, atol=1e-300)


def test_a_map_of_many_cells_leaves_its_log_sums_to_the_browser(monkeypatch):
    monkeypatch.setattr("analysis.lens.payload.MAX_LOG_SUM_CELLS", 34)
    _, arrays = unpack(pack_capture(make_capture()))
    assert "log_sums" not in arrays and "query" in arrays


def test_two_models_of_one_image_share_it():
    first = make_capture()
    second = make_capture(
        query=np.ones((2, 3, 4), np.float32),
        key=np.ones((2, 3, 4), np.float32),
        class_probs=None,
        gate=None,
        lr_kernel=None,
    )
    health = {"state": "alive", "sentence": "It is used."}
    buffer = pack_capture(first, second, health, names=("one", "two"))
    header, _ = unpack(buffer)
    models = header["models"]
    assert [model["name"] for model in models] == ["one", "two"]
    assert [model["health"] for model in models] == [health, None]
    assert [model["cells"] for model in models] == [[5, 7], [3, 4]]
    for capture, model in zip((first, second), models, strict=True):
        arrays = arrays_at(buffer, header, model)
        np.testing.assert_array_equal(arrays["query"], capture.query)
        assert arrays["cell_labels"].shape == capture.cells
    assert "class_probs" not in models[1]["arrays"]
    assert buffer != pack_capture(first, second, names=("one", "two"))


def test_two_models_must_fit_each_other():
    capture = make_capture()
    with pytest.raises(ValueError, match="show different images"):
        pack_capture(capture, make_capture(image=255 - capture.image))
    classes = dataclasses.replace(LABEL_SET, name="more", class_names=("Sky", "Road", "Bus"))
    with pytest.raises(ValueError, match=r"different classes \(tiny and more\)"):
        pack_capture(capture, make_capture(label_set=classes))
    with pytest.raises(ValueError, match="2 names came for 1 models"):
        pack_capture(capture, names=("a", "b"))


def test_a_request_leaves_the_arrays_where_they_are():
    buffer = pack_capture(make_capture())
    wish = {"id": "x", "pins": [[1, 2]], "choices": {"gate": "off"}, "look": {"scale": "log"}}
    header, arrays = unpack(asking_for(buffer, wish))
    assert header["request"] == wish
    for name, array in unpack(buffer)[1].items():
        np.testing.assert_array_equal(arrays[name], array)
