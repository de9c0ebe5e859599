"""One attention file on every page: compared in the Explorer, drawn on Figures, measured on the Noise report."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import analysis.figures
from analysis.capture import read_capture_file
from analysis.figures import figure_file, main, recipe_to_json
from analysis.measure import MeasureOptions, head_records, heads_summary
from tests.pages.small import app_on, read, save_network

CELLS = (6, 8)
SIZE = (48, 64)
NAMES = ("left", "right", "edge")


def make_file() -> bytes:
    """Two layers of two heads; labels of three classes, of which 9 is none, without their names."""
    rng = np.random.default_rng(0)
    arrays = {f"{layer}/{part}": rng.normal(size=(2, 48, 4)) for layer in ("a.0", "a.1") for part in ("query", "key")}
    labels = np.kron(np.repeat([[0, 1, 2, 9]], 6, 0), np.ones((8, 16), int)).astype(np.uint8)
    image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    file = io.BytesIO()
    np.savez(file, **arrays, image=image, labels=labels, height=6, width=8, scale=0.5)
    return file.getvalue()


CONTENT = make_file()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    save_network(folder / "small.safetensors", stride=16)
    return folder


def errors(app: AppTest) -> list[str]:
    assert not app.exception
    return [read(error.value) for error in app.error]


def caught(monkeypatch, module, name: str) -> list[tuple]:
    """The arguments of every call of a function that a page's own module has imported from `module`."""
    calls, function = [], getattr(module, name)

    def record(*arguments, **named):
        calls.append((*arguments, named))
        return function(*arguments, **named)

    monkeypatch.setattr(module, name, record)
    return calls


def test_one_file_on_every_page(zoo, monkeypatch, tmp_path):
    drawn = caught(monkeypatch, analysis.figures, "figure_preview")
    app = app_on(zoo, monkeypatch).run()

    # The Explorer: the classes are named in the form, wrong names are refused.
    app.selectbox(key="source").select("Attention file").run()
    app.file_uploader(key="attention file").set_value(("vit.npz", CONTENT, "application/octet-stream")).run()
    assert not errors(app)
    (classes,) = [box for box in app.selectbox if box.label == "Classes of the labels"]
    classes.select("names of my own").run()
    assert "give each class a name of its own" in errors(app)[0]
    app.text_area[0].set_value("\n".join(NAMES)).run()
    assert "labels hold the value 9, which is no class" in errors(app)[0]
    (ignored,) = [box for box in app.number_input if box.label == "Label that means no class"]
    ignored.set_value(9).run()
    assert not errors(app)
    named = read_capture_file(CONTENT, class_names=NAMES, ignore_index=9).layers

    # Two heads side by side.
    app.selectbox(key="attention other").select("another head or layer").run()
    assert not errors(app)
    assert app.selectbox(key="compared first head").value == 0 and app.selectbox(key="compared second head").value == 1
    app.selectbox(key="compared second layer").select("a.0").run()
    assert not errors(app)
    app.selectbox(key="attention other").select("small").run()
    assert "know different classes" in errors(app)[0]
    app.selectbox(key="attention other").select("another head or layer").run()

    # Figures: the Explorer's view becomes rows of heads; the command makes the same bytes from the recipe.
    app.button(key="to figures").click().run()
    app.switch_page("pages/figures.py").run()
    assert not errors(app)
    recipe, captures, hashes, *_ = drawn[-1]
    assert recipe.checkpoints == () and recipe.rows[0].image.class_names == NAMES
    assert [(row.image.layer, row.image.head) for row in recipe.rows] == [("a.1", 0), ("a.0", 1)]
    assert np.array_equal(captures[1].query, named.capture("a.0", 1).query)
    app.multiselect(key="figure columns").set_value(["photo"])
    app.multiselect(key="figure heads").set_value([1, "mean"]).run()
    app.selectbox(key="figure row 1 layer").select("a.1").run()
    assert not errors(app)
    recipe, captures, hashes, *_ = drawn[-1]
    assert recipe.heads == (1, "mean") and {row.image.layer for row in recipe.rows} == {"a.1"}
    (tmp_path / "recipe.json").write_text(recipe_to_json(recipe))
    (tmp_path / "vit.npz").write_bytes(CONTENT)
    assert main([str(tmp_path / "recipe.json"), str(tmp_path / "out.png")]) == 0
    assert (tmp_path / "out.png").read_bytes() == figure_file(recipe, captures, hashes, "png", 300)

    # The Noise report: the figures of every head.
    app.switch_page("pages/noise_report.py").run()
    app.selectbox(key="noise kind").select("Attention files").run()
    assert not errors(app)
    records = head_records(named.described(name="vit.npz"), MeasureOptions())
    expected = heads_summary({head: [record] for head, record in records.items()}, NAMES, min_images=1)
    (table,) = [frame.value for frame in app.dataframe if "× chance" in frame.value]
    times = [
        head["stages"]["raw"]["interclass_noise"]["times_chance"]
        for layer in expected["layers"].values()
        for head in layer["heads"].values()
    ]
    assert list(table["× chance"]) == pytest.approx(times) and not {"rectified", "retained"} & set(table.columns)
    # One image has no interval: a dash, where the table's own word would be "None".
    assert table["× chance, from"].isna().all()
    assert {frame.proto.placeholder for frame in app.dataframe if "× chance" in frame.value} == {"–"}
    drawn_map = next(json.loads(chart.proto.spec) for chart in app.get("plotly_chart") if chart.key == "head map")
    assert drawn_map["data"][0]["z"][0] == pytest.approx(times[:2])
    assert drawn_map["data"][1]["text"] == [f"{value:.2f}" for value in times]
    labels = [button.label for button in app.get("download_button")]
    assert labels == ["Summary (JSON)", "Every head (CSV)", "Every class (CSV)"]

    # A file of another network is left out and named; what has to be known of a file is said.
    assert not [folded for folded in app.expander if "has to be known" in folded.label]
    rng = np.random.default_rng(1)
    other = io.BytesIO()
    np.savez(other, attention=rng.random((2, 48, 48)), labels=np.arange(48).reshape(6, 8) // 24, height=6, width=8)
    uploads = (("odd_map.npz", other.getvalue(), "application/octet-stream"),)
    app.file_uploader(key="attention files").set_value(
        [*uploads, ("vit.npz", CONTENT, "application/octet-stream")]
    ).run()
    assert "other layers or heads than odd_map.npz; a report takes" in errors(app)[0]
    (folded,) = [folded for folded in app.expander if "has to be known" in folded.label]
    assert "the rows of the map sum to" in read(folded.markdown[0].value)
