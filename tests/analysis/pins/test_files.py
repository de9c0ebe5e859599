import csv
import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

import dnl
from analysis.figures.recipe import Scale
from analysis.options import STAGES
from analysis.pins.files import HEADER, pins_caption, pins_csv, pins_figure, pins_json, pins_npz, provenance, zipped
from analysis.pins.measured import Source, measure_pins, measure_queries
from tests.analysis.pins.small import (
    FIRST,
    OPTIONS,
    PIXELS,
    PLAIN,
    SECOND,
    make_capture,
    make_objects,
    make_pooled,
    make_views,
)


@pytest.fixture
def views():
    return make_views()


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_csv_has_a_row_for_each_view_pin_and_stage(views):
    rows = list(csv.DictReader(io.StringIO(pins_csv(views))))
    assert tuple(rows[0]) == HEADER and len(rows) == 3 * 3 + 3  # the second view has neither GR nor LR
    assert [row["stage"] for row in rows[:3]] == list(STAGES)
    first = rows[5]  # the retained row of the first view's second pin
    assert (first["source"], first["pin"], first["y"], first["x"]) == ("one", "2", "46", "82")
    assert (first["cell_row"], first["cell_column"]) == ("5", "10")
    assert float(first["interclass_noise"]) == views[0].figures(1, "retained")["interclass_noise"]
    assert first["class"] == "'=b"  # no formula for a spreadsheet
    assert (first["gate"], first["lr_kernel"], first["temperature"]) == ("similarity", "3", "2.0")
    assert first["source_sha256"] == FIRST.sha256 and first["version"] == dnl.__version__
    assert first["image_sha256"] == hashlib.sha256(views[0].capture.image.tobytes()).hexdigest()
    assert [(row["source"], row["stage"], row["gate"], row["lr_kernel"]) for row in rows[-3:]] == [
        ("two", "raw", "none", "none")
    ] * 3


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
        for stage in view.stages:
            np.testing.assert_array_equal(found[f"{prefix}{stage}"], getattr(view.rows, stage))
        np.testing.assert_array_equal(found[f"{prefix}prediction"], view.capture.prediction)
    assert "second_rectified" not in found and "second_retained" not in found
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


# --- keys that are other cells than the queries, blocks, queries without a place -------------------------------------


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


def test_plain_captures_have_files_without_any_word_of_grids(views):
    assert "grids" not in provenance(views) and pins_csv(views).splitlines()[0] == ",".join(HEADER)
