import csv
import dataclasses
import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

import dnl
from analysis import Capture
from analysis.charts.pins import pins_figure as chart
from analysis.figures.recipe import Scale
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from analysis.options import STAGES, MapOptions
from analysis.pins.files import HEADER, pins_caption, pins_csv, pins_figure, pins_json, pins_npz, provenance, zipped
from analysis.pins.measured import PIN_METRICS, Source, measure_pins, measure_queries, same_place
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


@pytest.fixture
def views():
    return [
        measure_pins(make_capture(), PIXELS, OPTIONS, FIRST),
        measure_pins(make_capture(2, gate=None, lr_kernel=None), PIXELS, PLAIN, SECOND),
    ]


# --- measuring -------------------------------------------------------------------------------------------------------


def test_pins_have_the_maps_and_figures_of_their_cells(views):
    capture, view = views[0].capture, views[0]
    assert view.cells == ((0, 0), (5, 10), (2, 5))  # 41 of 83 pixels is the middle column of 11
    assert view.class_names == ("a", "=b", "a") and view.measured_against == "labels"
    rows = attention_rows(capture, [0, 65, 27], **OPTIONS.as_dict())
    for stage in STAGES:
        np.testing.assert_array_equal(getattr(view.rows, stage), getattr(rows, stage))
        metrics = query_metrics(getattr(rows, stage), capture.cell_labels, [0, 65, 27], ignore_index=255)
        for pin in range(3):
            found = view.figures(pin, stage)
            assert list(found) == list(PIN_METRICS)
            assert found["hollow_fraction"] == metrics.hollow_fraction[pin]
            assert found["times_chance"] == pytest.approx(metrics.interclass_noise[pin] / metrics.chance[pin])


def test_a_cell_without_a_class_and_a_capture_without_classes_have_no_figures():
    view = measure_pins(make_capture(), [(46, 0)], OPTIONS, FIRST)
    assert view.class_names == (None,) and view.figures(0, "raw")["interclass_noise"] is None
    bare = make_capture(labels=None, prediction=None, class_probs=None)
    view = measure_pins(bare, [(46, 0)], PLAIN, FIRST)
    assert view.measured_against is None and set(view.figures(0, "raw").values()) == {None}
    assert not view.emptied(0, "raw")
    assert measure_pins(make_capture(labels=None), [(1, 1)], OPTIONS, FIRST).measured_against == "prediction"


def test_an_emptied_row_is_said():
    probs = np.zeros((2, 6, 11), np.float32)
    probs[0, 0, 0] = 1
    probs[1].flat[1:] = 1
    capture = make_capture(class_probs=probs)
    view = measure_pins(capture, [(0, 0)], dataclasses.replace(OPTIONS, gate="binary"), FIRST)
    assert view.emptied(0, "rectified") and not view.emptied(0, "raw")
    assert view.figures(0, "rectified")["interclass_noise"] is None


def test_a_pixel_off_the_image_is_refused():
    with pytest.raises(ValueError, match="off the image"):
        measure_pins(make_capture(), [(47, 0)], OPTIONS, FIRST)


def test_places_are_relative_to_the_corners():
    assert same_place((0, 0), (47, 83), (10, 300)) == (0, 0)
    assert same_place((46, 82), (47, 83), (10, 300)) == (9, 299)
    assert same_place((23, 41), (47, 83), (11, 301)) == (5, 150)


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_csv_has_a_row_for_each_view_pin_and_stage(views):
    rows = list(csv.DictReader(io.StringIO(pins_csv(views))))
    assert tuple(rows[0]) == HEADER and len(rows) == 2 * 3 * 3
    assert [row["stage"] for row in rows[:3]] == list(STAGES)
    first = rows[5]  # the retained row of the first view's second pin
    assert (first["source"], first["pin"], first["y"], first["x"]) == ("one", "2", "46", "82")
    assert (first["cell_row"], first["cell_column"]) == ("5", "10")
    assert float(first["interclass_noise"]) == views[0].figures(1, "retained")["interclass_noise"]
    assert first["class"] == "'=b"  # no formula for a spreadsheet
    assert (first["gate"], first["lr_kernel"], first["temperature"]) == ("similarity", "3", "2.0")
    assert first["source_sha256"] == FIRST.sha256 and first["version"] == dnl.__version__
    assert first["image_sha256"] == hashlib.sha256(views[0].capture.image.tobytes()).hexdigest()
    assert (rows[-1]["source"], rows[-1]["gate"], rows[-1]["lr_kernel"]) == ("two", "none", "none")


def test_what_is_undefined_is_empty_in_csv_and_null_in_json():
    view = measure_pins(make_capture(), [(46, 0)], OPTIONS, FIRST)
    row = next(csv.DictReader(io.StringIO(pins_csv([view]))))
    assert row["interclass_noise"] == "" and row["class"] == "" and row["emptied"] == "False"
    (pin,) = json.loads(pins_json([view]), parse_constant=pytest.fail)["pins"]
    assert pin["class"] is None and pin["stages"]["raw"]["interclass_noise"] is None


def test_the_json_says_what_was_made_of_what(views):
    found = json.loads(pins_json(views))
    assert found["provenance"] == json.loads(json.dumps(provenance(views)))
    assert found["provenance"]["sources"] == [
        {"kind": "checkpoint", "name": "one", "sha256": FIRST.sha256},
        {"kind": "checkpoint", "name": "two", "sha256": SECOND.sha256},
    ]
    assert found["provenance"]["options"] == [
        {"image": "a street", "source": "one", **OPTIONS.as_dict()},
        {"image": "a street", "source": "two", **PLAIN.as_dict()},
    ]
    assert [image["name"] for image in found["provenance"]["images"]] == ["a street"]
    pins = found["pins"]
    assert [(pin["source"], pin["pin"]) for pin in pins] == [
        (name, pin) for name in ("one", "two") for pin in (1, 2, 3)
    ]
    assert pins[1]["pixel"] == [46, 82] and pins[1]["stages"]["raw"]["chance"] == views[0].figures(1, "raw")["chance"]


def test_two_views_of_one_source_keep_their_own_options():
    views = [
        measure_pins(make_capture(name=name), PIXELS, options, FIRST)
        for name, options in (("a", OPTIONS), ("b", PLAIN))
    ]
    assert [(entry["image"], entry["gate"]) for entry in provenance(views)["options"]] == [
        ("a", "similarity"),
        ("b", None),
    ]


def test_the_npz_holds_the_maps_as_they_are(views):
    found = np.load(io.BytesIO(pins_npz(views)), allow_pickle=False)
    for prefix, view in zip(("", "second_"), views, strict=True):
        for stage in STAGES:
            np.testing.assert_array_equal(found[f"{prefix}{stage}"], getattr(view.rows, stage))
        np.testing.assert_array_equal(found[f"{prefix}prediction"], view.capture.prediction)
    assert found["pixels"].tolist() == [list(pixel) for pixel in PIXELS]
    assert found["labels"].shape == (47, 83) and found["class_names"].tolist() == ["a", "=b"]
    assert json.loads(str(found["provenance"])) == json.loads(json.dumps(provenance(views)))


@pytest.mark.parametrize("file_format", ["pdf", "svg", "png"])
def test_the_figure_carries_its_provenance(views, file_format):
    content = pins_figure(views, Scale(), "viridis", file_format)
    assert content.startswith({"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}[file_format])
    if file_format == "png":
        picture = Image.open(io.BytesIO(content))
        assert json.loads(picture.text["Description"]) == json.loads(json.dumps(provenance(views)))
        assert picture.width == round(7.16 * 300)
    else:
        assert FIRST.sha256.encode() in content and SECOND.sha256.encode() in content


@pytest.mark.parametrize(("height", "sources"), [(249, 1), (913, 1), (913, 2)])
def test_many_pins_of_a_tall_photo_still_fit_a_page(height, sources):
    size = height, 83
    tall = make_capture(image=np.zeros((*size, 3), np.uint8), labels=np.zeros(size, np.uint8), prediction=None)
    pixels = [(height // 9 * row, 5) for row in range(8)]
    views = [measure_pins(tall, pixels, OPTIONS, source) for source in (FIRST, SECOND)[:sources]]
    picture = Image.open(io.BytesIO(pins_figure(views, Scale(), "magma", "png")))
    assert picture.width == round(7.16 * 300) and 23.9 * 300 < picture.height <= 24 * 300


def test_the_same_pins_give_the_same_bytes(views):
    again = [
        measure_pins(make_capture(), PIXELS, OPTIONS, FIRST),
        measure_pins(make_capture(2, gate=None, lr_kernel=None), PIXELS, PLAIN, SECOND),
    ]
    for made in (pins_csv, pins_json, pins_npz):
        assert made(views) == made(again)
    for file_format in ("pdf", "svg", "png"):
        assert pins_figure(views, Scale(), "magma", file_format) == pins_figure(again, Scale(), "magma", file_format)
    files = {"a.txt": b"a", "b/c.txt": b"bc"}
    assert zipped(files) == zipped(files)
    with zipfile.ZipFile(io.BytesIO(zipped(files))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files


def test_files_of_pins_without_classes_are_made():
    bare = make_capture(labels=None, prediction=None, class_probs=None, label_set=None, gate=None)
    view = measure_pins(bare, [(5, 5)], PLAIN, Source("vit.npz", "ef" * 32, "file"))
    assert "interclass" not in pins_caption([view], Scale())
    assert "file vit.npz (efefefefefef)" in pins_caption([view], Scale())
    assert pins_figure([view], Scale(), "magma", "svg") and pins_npz([view]) and pins_csv([view])


def test_the_caption_names_pixels_maps_scale_and_sources(views):
    words = pins_caption(views, Scale("shared", 99))
    for part in (
        "Attention of 3 pixels in a street, (row, column): 1 (0, 0) a, 2 (46, 82) =b, 3 (20, 41) a.",
        "attention weights on one scale",
        "99th percentile",
        "temperature 2",
        "checkpoint one (abababababab) and checkpoint two (cdcdcdcdcdcd)",
    ):
        assert part in words


# --- the chart -------------------------------------------------------------------------------------------------------


def test_the_chart_shows_the_figures_beside_chance(views):
    figure = chart(views, "interclass_noise")
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert len(bars) == 6 and list(bars[0].x) == ["1 a", "2 =b", "3 a"]
    assert list(bars[5].y) == [views[1].figures(pin, "retained")["interclass_noise"] for pin in range(3)]
    chance = [trace for trace in figure.data if trace.name == "chance"]
    assert list(chance[0].y) == [views[0].figures(pin, "raw")["chance"] for pin in range(3)]
    assert not [trace for trace in chart(views, "kept_mass").data if trace.name == "chance"]


# --- keys that are other cells than the queries, blocks, queries without a place -------------------------------------


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


def test_pins_over_other_keys_are_the_blocks_under_their_pixels():
    capture = make_pooled()
    view = measure_pins(capture, [(8, 9), (46, 82)], PLAIN, FIRST)
    assert view.cells == ((1, 1), (5, 10)) and [view.query(pin) for pin in range(2)] == [12, 65]
    rows = attention_rows(capture, [12, 65])
    np.testing.assert_array_equal(view.rows.raw, rows.raw)
    metrics = query_metrics(rows.raw, capture.key_labels, [12, 65], ignore_index=255, query_labels=capture.cell_labels)
    for pin in range(2):
        assert view.figures(pin, "raw")["interclass_noise"] == metrics.interclass_noise[pin]
    centred = measure_queries(capture, [12, 65], PLAIN, FIRST)
    assert centred.pixels == (capture.grid.pixel_at(1, 1), capture.grid.pixel_at(5, 10))
    assert centred.cells == view.cells and centred.metrics.keys() == view.metrics.keys()
    with pytest.raises(ValueError, match="off the part that the model saw"):
        measure_pins(make_pooled(crop=(8, 9, 30, 60)), [(7, 9)], PLAIN, FIRST)


def test_files_say_the_grid_of_the_keys():
    views = [
        measure_pins(make_pooled(), [(8, 9)], PLAIN, FIRST),
        measure_pins(make_capture(), [(8, 9)], OPTIONS, SECOND),
    ]
    first, *_, last = csv.DictReader(io.StringIO(pins_csv(views)))
    assert set(first) - set(HEADER) == {"key_rows", "key_columns", "dropped"}
    assert (first["cell_row"], first["cell_column"], first["key_rows"], first["key_columns"]) == ("1", "1", "2", "4")
    assert float(first["dropped"]) == pytest.approx(12 / 130) and (last["key_rows"], last["dropped"]) == ("", "")
    found = json.loads(pins_json(views))
    grids = {"queries": [6, 11], "keys": [2, 4], "placement": "blocks", "crop": None}
    assert found["provenance"]["grids"] == [{"image": "a street", "source": "one", **grids}]
    assert found["pins"][0]["cell"] == [1, 1] and "dropped" not in found["pins"][1]
    with np.load(io.BytesIO(pins_npz(views[:1]))) as maps:
        assert maps["raw"].shape == (1, 2, 4) and maps["cells"].tolist() == [[1, 1]]
        assert json.loads(str(maps["provenance"]))["grids"][0]["keys"] == [2, 4]


def test_queries_without_a_place_are_pinned_by_number_and_name():
    view = measure_queries(make_objects(), [2, 1], PLAIN, FIRST)
    assert view.pixels == (None, None) and view.class_names == ("=b", None)
    assert [view.query_name(pin) for pin in range(2)] == ["third", "second"]
    assert view.figures(0, "raw")["interclass_noise"] is not None and view.figures(1, "raw")["interclass_noise"] is None
    row = next(csv.DictReader(io.StringIO(pins_csv([view]))))
    assert (row["query"], row["query_name"], row["cell_row"], row["y"]) == ("2", "third", "", "")
    assert (
        next(csv.DictReader(io.StringIO(pins_csv([measure_queries(make_objects(), [0], PLAIN, FIRST)]))))["query_name"]
        == "'=first"
    )  # no formula for a spreadsheet
    found = json.loads(pins_json([view]))
    assert found["pins"][0]["query"] == 2 and found["pins"][0]["query_name"] == "third"
    assert "pixel" not in found["pins"][0] and found["provenance"]["grids"][0]["queries"] == 3
    with np.load(io.BytesIO(pins_npz([view]))) as maps:
        assert maps["queries"].tolist() == [2, 1] and maps["query_names"].tolist() == ["third", "second"]
        assert maps["raw"].shape == (2, 2, 4) and "pixels" not in maps
    caption = pins_caption([view], Scale())
    assert caption.startswith("Attention of 2 queries in a street: 1 third =b, 2 second.")
    assert pins_figure([view], Scale(), "magma", "pdf").startswith(b"%PDF")
    assert len(chart([view], "interclass_noise").data)
    with pytest.raises(ValueError, match="have no place on the image; choose one by its number"):
        measure_pins(make_objects(), [(0, 0)], PLAIN, FIRST)


def test_plain_captures_have_files_without_any_word_of_grids(views):
    assert "grids" not in provenance(views) and pins_csv(views).splitlines()[0] == ",".join(HEADER)
