"""What the noise map is sent: the report's own values, and why a cell has none."""

import base64
import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from analysis import Capture
from analysis.lens import asking_for, pack_capture
from analysis.lens.noise_map import noise_map_data
from analysis.measure import MeasureOptions, measure_capture
from dnl.classes import LabelSet


@pytest.fixture
def capture() -> Capture:
    """4×7 cells over a photo of 40×91 pixels. Class a is cells 0 … 13; b is one cell; the rest has no label."""
    rng = np.random.default_rng(0)
    cells = np.full(28, 9)
    cells[:14], cells[20] = 0, 1
    rows, columns = np.linspace(0, 3, 40).round().astype(int), np.linspace(0, 6, 91).round().astype(int)
    probs = np.full((2, 4, 7), 0.5, np.float32)
    probs[0].flat[:10], probs[1].flat[:10] = 0.9, 0.1
    return Capture(
        query=rng.normal(size=(3, 4, 7)).astype(np.float32),
        key=rng.normal(size=(3, 4, 7)).astype(np.float32),
        class_probs=probs,
        image=rng.integers(0, 256, (40, 91, 3), dtype=np.uint8),
        labels=cells.reshape(4, 7)[rows[:, None], columns].astype(np.uint8),
        label_set=LabelSet("two", ("a<b>", "b"), ((0, 0, 0),) * 2, ignore_index=9),
        gate="binary",
        lr_kernel=3,
        name="a photo",
    )


def test_the_map_holds_the_report_s_values_and_says_why_cells_have_none(capture):
    report = measure_capture(capture, MeasureOptions(), detection=False)
    data = json.loads(json.dumps(noise_map_data(capture, report, "raw", "interclass_noise", words="noise", highest=1)))
    expected = report.stages["raw"].interclass_noise
    assert [value is None for value in data["values"]] == np.isnan(expected).tolist()
    found = np.array([np.nan if value is None else value for value in data["values"]])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert data["cells"] == [4, 7] and data["image_size"] == [40, 91] and data["highest"] == 1
    assert data["classes"] == [0] * 14 + [-1] * 6 + [1] + [-1] * 7
    assert data["class_names"] == ["a<b>", "b"]
    # The only cell of b has no S: it is labelled, but its noise is undefined.
    assert data["reasons"] == {"emptied": [], "no label": [*range(14, 20), *range(21, 28)], "undefined": [20]}
    photo = Image.open(io.BytesIO(base64.b64decode(data["photo"].partition(",")[2])))
    assert (photo.height, photo.width) == (40, 91)
    assert len(data["colormap"]) == 3 * 256


def test_emptied_rows_are_told_from_cells_without_a_label(capture):
    # GR takes cell 0 for a class that no other cell has: the binary gate leaves it nothing but itself.
    probs = np.zeros((2, 4, 7), np.float32)
    probs[0] = 1
    probs[:, 0, 0] = 0, 1
    report = measure_capture(dataclasses.replace(capture, class_probs=probs), MeasureOptions(), detection=False)
    data = noise_map_data(capture, report, "rectified", "interclass_noise", words="noise")
    assert data["reasons"]["emptied"] == [0] and 0 not in data["reasons"]["no label"]
    assert data["values"][0] is None and data["values"][1] is not None


def test_the_scale_ends_at_the_largest_value_unless_it_is_given(capture):
    report = measure_capture(capture, MeasureOptions(), detection=False)
    data = noise_map_data(capture, report, "raw", "effective_keys", words="effective keys")
    assert data["highest"] == pytest.approx(np.nanmax(report.stages["raw"].effective_keys))


def test_a_request_rides_in_the_lens_s_header_and_leaves_the_arrays_alone(capture):
    buffer, request = pack_capture(capture), {"id": "ab", "pins": [[39, 90]], "choices": {"gate": "off"}}
    asked = asking_for(buffer, request)

    def parts(packed: bytes) -> tuple[dict, bytes]:
        length = 4 + int.from_bytes(packed[:4], "little")
        assert length % 8 == 0
        return json.loads(packed[4:length]), packed[length:]

    header, body = parts(asked)
    assert header.pop("request") == request
    assert (header, body) == parts(buffer)
