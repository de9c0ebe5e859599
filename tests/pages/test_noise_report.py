"""The Noise report page, run by Streamlit's own test harness: everything but the noise map's JavaScript."""

import csv
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from streamlit.runtime.scriptrunner import StopException
from streamlit.testing.v1 import AppTest

from analysis import capture_attention
from analysis.lens import image_id
from analysis.measure import MeasureOptions, data_set_summary, image_record, measure_capture, worst_queries
from analysis.report import command as report
from analysis.words import headline
from dnl import __version__, load_checkpoint
from dnl.classes import CAMVID
from dnl.datasets import Streets
from pages.parts.noise_report import work as noise_work
from pages.parts.subjects.places import StreetPlace
from tests.analysis.report.small import one_process
from tests.pages.small import app_on, png, read, save_network

PAGE = "pages/noise_report.py"


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    """A folder of two small networks with attention and one without."""
    folder = tmp_path_factory.mktemp("zoo")
    for seed, (name, context) in enumerate((("first", "dnl"), ("no-attention", "fcn"), ("second", "nl+gr"))):
        save_network(folder / f"{name}.safetensors", context, calm=True, seed=seed)
    return folder


@pytest.fixture
def app(zoo, monkeypatch) -> AppTest:
    app = app_on(zoo, monkeypatch, 600)
    app.run()
    return app.switch_page(PAGE)


def wide_photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (70, 130, 3), dtype=np.uint8)


def upload(app: AppTest, labels: np.ndarray | None = None) -> None:
    """Show a photo of the user's, with or without labels."""
    app.selectbox(key="source").select("Your photo").run()
    app.file_uploader(key="photo").set_value(("wide.png", png(wide_photo()), "image/png"))
    if labels is not None:
        app.file_uploader(key="labels").set_value(("wide-labels.png", png(labels), "image/png"))
    app.run()
    app.button(key="noise measure").click().run()


def words(app: AppTest) -> str:
    return "\n".join(block.value for block in (*app.markdown, *app.caption, *app.info, *app.warning, *app.error))


def summaries(app: AppTest) -> list[dict]:
    """The finished summary of each checkpoint."""
    work = app.session_state["noise work"]
    assert not work.missing()
    finished = {}
    for (name, *_), summary in work.summaries.items():
        finished[name] = summary  # the last one has AUC and AP
    return list(finished.values())


def charts_shown(app: AppTest) -> dict[str, dict]:
    """Key -> figure of the page's charts."""
    return {element.key: json.loads(element.proto.spec) for element in app.get("plotly_chart")}


def test_one_image_is_measured_on_arrival_and_its_numbers_are_python_s(app, zoo):
    app.run()
    assert not app.exception and not app.error and not app.warning
    [summary] = summaries(app)
    model, _ = load_checkpoint(zoo / "first.safetensors")
    street = Streets("gallery")[0]
    capture = capture_attention(model, street.image, labels=street.labels, name="Street 1")
    record = image_record(measure_capture(capture, MeasureOptions()))
    assert summary == data_set_summary([record], CAMVID.class_names, min_images=1)
    assert headline(summary) in [block.value for block in app.markdown]
    shown = charts_shown(app)
    assert {"overview interclass_noise", "classes", "leakage", "hollow curve", "distribution"} <= set(shown)
    bars = shown["overview interclass_noise"]["data"]
    assert bars[0]["y"] == [summary["stages"]["raw"]["interclass_noise"]["mean"]]
    assert len(app.dataframe[0].value) > 10
    offered = ["Summary (JSON)", "Every image and class (CSV)", "LaTeX", "Markdown", "CSV"]
    assert [button.label for button in app.get("download_button")] == offered
    assert r"No test of interclass noise \(1 image\: an interval needs 3\)\." in words(app)

    # Changed choices wait for the button; the stages shown do not.
    app.pills(key="noise stages").set_value(["raw", "box"]).run()
    assert len(charts_shown(app)["hollow curve"]["data"]) == 2
    app.selectbox(key="scene").select(2).run()
    assert "press Measure" in app.info[0].value
    assert summaries(app) == [summary]

    # A worst query opens in the Explorer, pinned, on the image and model that were measured.
    app.button(key="noise worst 1").click().run()
    assert not app.exception
    assert app.title[0].value == "Where does one pixel look?"
    assert app.selectbox(key="scene").value == 0 and app.selectbox(key="model").value == "first"
    worst = int(worst_queries(measure_capture(capture, detection=False), "raw")[0])
    pixel = capture.grid.pixel_at(*divmod(worst, capture.width))
    assert app.session_state["lens pins"] == {image_id(capture): [list(pixel)]}
    assert app.subheader[0].value == "The pinned pixel"
    (table,) = [block.proto.body for block in app.get("html") if 'data-figure="chance"' in block.proto.body]
    assert CAMVID.class_names[capture.cell_labels.flat[worst]] in table

    # And the page comes back as it was left.
    app.switch_page(PAGE).run()
    assert not app.exception
    assert app.pills(key="noise stages").value == ["raw", "box"]
    assert summaries(app) == [summary]


def test_the_command_line_finds_the_page_s_numbers_and_python_s(app, zoo, tmp_path):
    app.run()
    app.segmented_control(key="noise count").set_value("Several").run()
    app.multiselect(key="noise scenes").set_value([0, 1]).run()
    app.button(key="noise measure").click().run()
    assert not app.exception
    [of_page] = summaries(app)

    options = ["--dataset", "streets", "--split", "gallery", "--limit", "2", "--workers", "1", "--out", str(tmp_path)]
    with one_process():
        assert report.main(["--checkpoint", str(zoo / "first.safetensors"), *options]) == 0
    of_command = json.loads((tmp_path / "summary.json").read_text())
    assert {name: of_command[name] for name in of_page} == of_page

    model, _ = load_checkpoint(zoo / "first.safetensors")
    captures = [capture_attention(model, street.image, labels=street.labels) for street in Streets("gallery", 2)]
    records = [image_record(measure_capture(capture)) for capture in captures]
    assert data_set_summary(records, CAMVID.class_names, min_images=1) == of_page

    work = app.session_state["noise work"]
    page_rows, command_rows = (
        [{name: value for name, value in row.items() if name != "image"} for row in csv.DictReader(io.StringIO(text))]
        for text in (
            noise_work.class_csv(work, "first", list(work.records.values())),
            (tmp_path / "per_class.csv").read_text(encoding="utf-8"),
        )
    )
    assert page_rows == command_rows and len(page_rows) > 20
    digest = hashlib.sha256((zoo / "first.safetensors").read_bytes()).hexdigest()
    assert {(row["checkpoint_sha256"], row["gate"], row["lr_kernel"], row["version"]) for row in page_rows} == {
        (digest, "sigmoid", "3", __version__)
    }
    file = json.loads(noise_work.summary_json(work, "first", of_page, list(work.records.values())))
    made_of = file.pop("provenance")
    assert file == of_page
    assert made_of["checkpoint"] == {"name": "first", "sha256": digest} and made_of["version"] == __version__
    assert made_of["images"] == [
        {
            "name": f"Street {number}",
            "sha256": hashlib.sha256(street.image.tobytes()).hexdigest(),
            "measured_against": "ground truth",
            "group": None,
            "place": None,
        }
        for number, street in enumerate(Streets("gallery", 2), 1)
    ]
    assert made_of["options"] == {
        "gate": "sigmoid",
        "lr_kernel": 3,
        "lr_weights": "learnt",
        "temperature": 1.0,
        "labels": "truth",
    }
    of_files = of_command["provenance"]["images"]
    assert [image["sha256"] for image in of_files] == [image["sha256"] for image in made_of["images"]]


def test_an_unlabelled_photo_is_measured_against_the_prediction_and_marked(app):
    app.run()
    upload(app)
    assert not app.exception
    assert [summary["label_source"] for summary in summaries(app)] == ["prediction"]
    assert "own prediction" in app.warning[0].value and "flatters" in app.warning[0].value
    assert app.session_state["noise work"].job.places[0].photo[0] == "wide.png"


def test_a_photo_of_one_class_gets_a_sentence(app):
    app.run()
    upload(app, np.full((70, 130), 3, np.uint8))
    assert not app.exception
    assert "Not more than one labelled class in wide\\.png" in app.info[0].value
    assert "no interclass noise to measure" in words(app)


def test_classes_of_few_cells_are_named(app):
    app.run()
    labels = np.full((70, 130), 3, np.uint8)
    labels[:, 65:] = 1
    labels[:20, :20] = 7  # a cell or two
    upload(app, labels)
    assert not app.exception
    assert "Fewer than 5 labelled cells in every image, so without bars: Fence." in words(app)
    assert "Fence" not in json.dumps(charts_shown(app)["classes"])


def test_several_images_and_checkpoints_are_compared_and_can_be_cancelled(app, monkeypatch):
    app.run()
    app.multiselect(key="noise models").set_value(["first", "no-attention", "second"])
    app.segmented_control(key="noise count").set_value("Several").run()
    app.multiselect(key="noise scenes").set_value([4, 1]).run()
    assert "no\\-attention cannot be measured" in app.error[0].value and "no attention" in words(app)
    assert app.session_state["noise work"].job.places == (StreetPlace(0),)

    measured = []
    take = noise_work.record_of

    def record_then_stop(job, name, index, *, detection):
        if len(measured) == 2:  # as if somebody had clicked on the page
            raise StopException
        measured.append((name, index))
        return take(job, name, index, detection=detection)

    monkeypatch.setattr("pages.parts.noise_report.work.record_of", record_then_stop)
    app.button(key="noise measure").click().run()
    work = app.session_state["noise work"]
    assert sorted(work.records) == [("first", 0), ("second", 0)]
    app.button(key="noise cancel").click().run()
    assert not app.exception
    assert "2 of 4 were measured" in app.info[0].value
    assert len(charts_shown(app)["overview interclass_noise"]["data"]) > 0

    monkeypatch.setattr("pages.parts.noise_report.work.record_of", take)
    app.button(key="noise measure").click().run()
    assert not app.exception and not app.info
    first, second = summaries(app)
    assert first["images"] == second["images"] == 2 and first != second
    assert [record.name for record in work.records.values()] == ["Street 2", "Street 2", "Street 5", "Street 5"]
    assert f"**first**: {headline(first)}" in [block.value for block in app.markdown]
    bars = charts_shown(app)["overview interclass_noise"]["data"][0]
    assert bars["y"] == [summary["stages"]["raw"]["interclass_noise"]["mean"] for summary in (first, second)]
    assert not bars["error_y"]["visible"]  # of two images
    assert any(r"No intervals \(2 images\: an interval needs 3\)" in block.value for block in app.caption)
    comparison = list(work.comparisons.values())[-1]
    assert comparison["second - first"]["images"] == 2 and "Below 0 is less noise" in words(app)
    records = [record for (name, _), record in work.records.items() if name == "first"]
    text = noise_work.class_csv(work, "first", records)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["image"] for row in rows} == {"Street 2", "Street 5"}
    assert {row["stage"] for row in rows} == set(first["stages"])


def test_a_network_without_attention_alone_gets_a_sentence(app):
    app.run()
    app.multiselect(key="noise models").set_value(["no-attention"]).run()
    assert not app.exception
    assert "no attention to look at" in app.error[0].value
    assert app.button(key="noise measure").disabled


def test_what_a_split_of_camvid_is_to_the_networks_is_said(app, tmp_path, monkeypatch):
    for split in ("train", "val"):
        for name, array in ((split, wide_photo()), (f"{split}annot", np.ones((70, 130), np.uint8))):
            (tmp_path / name).mkdir()
            (tmp_path / name / "one.png").write_bytes(png(array))
    monkeypatch.setenv("DNL_DATA", str(tmp_path))
    app.run()
    app.segmented_control(key="noise count").set_value("Several").run()
    app.selectbox(key="noise source").select("CamVid").run()
    assert not app.exception and "One clip of 6.7 seconds" in words(app)
    app.selectbox(key="noise split").select("train").run()
    assert not app.exception and "have learnt from these very images" in words(app)


def test_what_the_labels_of_several_photos_are_read_as_can_be_chosen(app):
    app.run()
    app.segmented_control(key="noise count").set_value("Several").run()
    app.selectbox(key="noise source").select("Your photo").run()
    raw = np.where(np.arange(130) < 65, 17, 21).astype(np.uint8)[None].repeat(70, 0)
    app.file_uploader(key="noise photos").set_value([("wide.png", png(wide_photo()), "image/png")])
    app.file_uploader(key="noise photo labels").set_value([("wide.png", png(raw), "image/png")]).run()
    app.button(key="noise measure").click().run()
    assert 'name the coding "32-indices"' in read(app.error[0].value)
    app.selectbox(key="noise coding").select("32-indices").run()
    app.button(key="noise measure").click().run()
    assert not app.error and [summary["images"] for summary in summaries(app)] == [1]


def test_an_image_that_cannot_be_read_is_named_and_the_others_measured(app):
    app.run()
    app.segmented_control(key="noise count").set_value("Several").run()
    app.selectbox(key="noise source").select("Your photo").run()
    files = [("torn.png", b"no image", "image/png"), ("wide.png", png(wide_photo()), "image/png")]
    app.file_uploader(key="noise photos").set_value(files).run()
    app.button(key="noise measure").click().run()
    assert not app.exception
    assert app.error[0].value.startswith("Image 1 with first: The photo is")
    assert [summary["images"] for summary in summaries(app)] == [1]
