import io
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dnl.checkpoints import file as checkpoints
from dnl.classes import ADE20K, CAMVID
from dnl.datasets import DatasetError
from pages.parts.app.words import literal
from pages.parts.explorer import arrival
from pages.parts.explorer.exports import OTHER_BATCH, OWN_PIXEL
from pages.parts.subjects import pictures
from pages.parts.subjects.places import CamVidPlace, camvid_name
from tests.pages.small import app_on, png, read, save_network

FIGURES = [
    "interclass_noise",
    "chance",
    "times_chance",
    "intraclass_noise",
    "hollow_fraction",
    "kept_mass",
    "effective_keys",
]
EXPORTS = [
    "Lens (HTML)",
    "Figure (PDF)",
    "Figure (SVG)",
    "Figure (PNG)",
    "Figures (CSV)",
    "Figures (JSON)",
    "Maps (NPZ)",
]

FIRST_OF_A_VISIT = arrival.lens_comes_first


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    """A folder of one small network with attention, one without, and one broken file."""
    folder = tmp_path_factory.mktemp("zoo")
    for name, context in (("a-small-one", "dnl"), ("no-attention", "fcn")):
        save_network(folder / f"{name}.safetensors", context, stride=8, metrics={"gamma": 0.5})
    (folder / "torn.safetensors").write_bytes((folder / "a-small-one.safetensors").read_bytes()[:5000])
    return folder


@pytest.fixture
def app(zoo, monkeypatch) -> AppTest:
    return app_on(zoo, monkeypatch, 60)


def table_rows(app: AppTest) -> list[dict]:
    """The table of the pinned pixels: a row a pin, model and stage, with its figures as text."""
    bodies = [block.proto.body for block in app.get("html")]
    (table,) = [body for body in bodies if 'data-figure="chance"' in body]
    return [
        {"pin": int(pin), "stage": stage} | dict(re.findall(r'data-figure="(\w+)"[^>]*>([^<]*)<', cells))
        for pin, stage, cells in re.findall(r'<tr data-pin="(\d)" data-stage="(\w+)">(.*?)</tr>', table)
    ]


def figures(app: AppTest) -> dict[str, dict[str, str]]:
    """Of the first pin and model: figure -> stage -> text."""
    rows = table_rows(app)[:3]
    return {name: {row["stage"]: row[name] for row in rows} for name in rows[0] if name not in ("pin", "stage")}


def pinned_class(app: AppTest) -> str:
    (table,) = [block.proto.body for block in app.get("html") if 'data-figure="chance"' in block.proto.body]
    return re.search(r'scope="rowgroup"[^>]*>(?:<span.*?</span>)?([^<]*)<small>', table)[1]


def assert_page_stands(app: AppTest) -> None:
    assert not app.exception
    assert list(figures(app)) == FIGURES


def test_the_page_opens_on_a_street_with_its_figures(app):
    app.run()
    assert_page_stands(app)
    assert not app.error and not app.warning
    table = figures(app)
    assert list(table["chance"]) == ["raw", "rectified", "retained"]
    for stage in table["chance"]:
        noise, chance = float(table["interclass_noise"][stage]), float(table["chance"][stage])
        assert 0 <= noise <= 1 and 0 < chance < 1
        assert math.isclose(float(table["times_chance"][stage]), noise / chance, abs_tol=0.01)
    assert any("does not say what its attention is worth" in text.value for text in app.markdown)


def test_the_lens_comes_first_in_each_visit(app, monkeypatch):
    monkeypatch.setattr(arrival, "lens_comes_first", FIRST_OF_A_VISIT)
    for _ in range(2):
        app.run()
        assert not app.exception and [title.value for title in app.title] == ["Where does one pixel look?"]
        assert not app.get("download_button") and not app.subheader
        app.run()
        assert_page_stands(app)
        app.session_state["page"] = "another"


def test_another_scene_has_other_figures(app):
    app.run()
    before = figures(app)
    app.selectbox(key="scene").select(5).run()
    assert_page_stands(app)
    assert figures(app) != before


@pytest.mark.parametrize(
    ("name", "reason"), [("no-attention", "has no attention"), ("torn", "not a readable safetensors file")]
)
def test_a_model_that_cannot_be_used_is_named_and_another_shown(app, name, reason):
    app.run()
    app.selectbox(key="model").select(name).run()
    assert_page_stands(app)
    assert [name in read(error.value) and reason in error.value for error in app.error] == [True]
    assert "Showing a-small-one instead." in [read(info.value) for info in app.info]


def test_no_model_at_all_is_said_in_words(app, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "ZOO", tmp_path)
    app.run()
    assert not app.exception
    assert "no checkpoint" in read(app.error[0].value)


def test_an_unlabelled_photo_is_measured_against_the_prediction_and_says_so(app):
    app.run()
    app.selectbox(key="source").select("Your photo").run()
    assert_page_stands(app)
    photo = np.random.default_rng(0).integers(0, 256, (70, 130, 3), dtype=np.uint8)
    app.file_uploader(key="photo").set_value(("tall.png", png(photo), "image/png")).run()
    assert_page_stands(app)
    assert "own prediction, which flatters it" in app.warning[0].value


def test_a_photo_with_its_labels_is_measured_against_them(app):
    app.run()
    app.selectbox(key="source").select("Your photo").run()
    photo = np.random.default_rng(0).integers(0, 256, (70, 130, 3), dtype=np.uint8)
    labels = np.zeros((70, 130), np.uint8)
    labels[:, 40:] = 3
    app.file_uploader(key="photo").set_value(("wide.png", png(photo), "image/png"))
    app.file_uploader(key="labels").set_value(("wide-labels.png", png(labels), "image/png")).run()
    assert_page_stands(app)
    assert not app.warning and not app.error
    assert pinned_class(app) in ("Sky", "Road")


def own_photo(app, labels, photo=None):
    app.run()
    app.selectbox(key="source").select("Your photo").run()
    photo = png(np.random.default_rng(0).integers(0, 256, (70, 130, 3), dtype=np.uint8)) if photo is None else photo
    app.file_uploader(key="photo").set_value(("wide.png", photo, "image/png"))
    app.file_uploader(key="labels").set_value(("wide-labels.png", png(labels), "image/png")).run()
    assert_page_stands(app)


def reading(app):
    """The widget of what the labels are read as; None where there is nothing to choose."""
    return next((box for box in app.selectbox if box.label == "Labels read as"), None)


@pytest.mark.parametrize(("orientation", "warnings"), [(1, 0), (6, 1)])
def test_a_square_photo_that_is_turned_by_its_exif_alone_gets_a_warning(app, orientation, warnings):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    photo = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(photo).save(file, "JPEG", exif=exif)
    labels = np.arange(6, dtype=np.uint8).repeat(16)[:, None].repeat(96, 1)
    own_photo(app, labels, file.getvalue())
    assert not app.error and len(app.warning) == warnings
    for warning in app.warning:
        assert "turned by its EXIF orientation 6, its label image as it is stored" in read(warning.value)


def test_what_labels_are_read_as_is_said(app):
    own_photo(app, np.repeat(np.arange(7, dtype=np.uint8), 10)[:, None].repeat(130, 1))
    assert not app.error and reading(app).value == "indices"
    assert reading(app).options == ["class indices", "indices of CamVid's 32 classes", "indices from 1, 0 = none"]
    pinned = pinned_class(app)
    reading(app).select("32-indices").run()
    assert_page_stands(app)
    assert not app.error and pinned_class(app) != pinned


def test_labels_in_colours_are_read_as_such(app):
    own_photo(app, CAMVID.colour(np.repeat(np.arange(7), 10)[:, None].repeat(130, 1)))
    assert (not app.error and reading(app) is None) or reading(app).value in ("colours", "official-colours")


def test_labels_of_several_readings_are_asked_for(app):
    values = np.where(np.arange(130) < 65, 17, 21).astype(np.uint8)[None].repeat(70, 0)
    own_photo(app, values)
    assert "Name the coding" in read(app.error[0].value) or "name the coding" in read(app.error[0].value)
    assert "The photo is shown without labels." in read(app.error[0].value) and reading(app).value is None
    reading(app).select("32-indices").run()
    assert_page_stands(app)
    assert not app.error and pinned_class(app) in ("Road", "Sky")
    own_photo(app, values.T[:70].repeat(2, 1)[:, :130])  # another file is asked for anew
    assert reading(app).value is None


def test_masks_and_blended_labels_are_said(app):
    own_photo(app, np.where(np.arange(130) < 65, 0, 255).astype(np.uint8)[None].repeat(70, 0))
    assert "0 and 255 only, and 255 means ignored: save the object as 1" in read(app.error[0].value)
    blended = Image.fromarray(np.kron(np.array([[0, 8], [10, 2]], np.uint8), np.ones((20, 20), np.uint8)))
    own_photo(app, np.asarray(blended.resize((130, 70), Image.Resampling.BILINEAR)))
    assert not app.error and "resized smoothly" in read(app.warning[0].value)


def test_photos_of_more_kinds_and_what_they_leave_out(app):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 65536, (70, 130), np.uint16)).save(file, "TIFF")
    app.run()
    app.selectbox(key="source").select("Your photo").run()
    app.file_uploader(key="photo").set_value(("deep.tiff", file.getvalue(), "image/tiff")).run()
    assert_page_stands(app)
    assert "has 16 bits per channel, of which the upper 8 are used" in " ".join(read(info.value) for info in app.info)


def test_labels_that_do_not_fit_are_left_out_and_said(app):
    app.run()
    app.selectbox(key="source").select("Your photo").run()
    photo = np.random.default_rng(0).integers(0, 256, (70, 130, 3), dtype=np.uint8)
    app.file_uploader(key="photo").set_value(("wide.png", png(photo), "image/png"))
    app.file_uploader(key="labels").set_value(("short.png", png(photo[:60, :, 0]), "image/png")).run()
    assert_page_stands(app)
    assert "must have the same size. The photo is shown without labels." in read(app.error[0].value)
    assert app.warning


@pytest.mark.parametrize("content", [b"not an image", b"", b"\x89PNG\r\n\x1a\n", png(np.zeros((1, 1, 3), np.uint8))])
def test_a_file_that_is_no_photo_gets_one_sentence_and_a_street(app, content):
    app.run()
    app.selectbox(key="source").select("Your photo").run()
    app.file_uploader(key="photo").set_value(("photo.png", content, "image/png")).run()
    assert_page_stands(app)
    assert len(app.error) == 1
    assert app.error[0].value.startswith("The photo is") and app.error[0].value.endswith(".")


def write_camvid(folder: Path, split: str, size=(72, 104)) -> None:
    for name, array in (
        (split, np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)),
        (f"{split}annot", np.random.default_rng(1).integers(0, 12, size, dtype=np.uint8)),
    ):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "one.png").write_bytes(png(array))


def test_camvid_is_offered_where_its_folder_is_named(app, tmp_path, monkeypatch):
    write_camvid(tmp_path, "train")
    write_camvid(tmp_path, "val")
    monkeypatch.setenv("DNL_DATA", str(tmp_path))
    app.run()
    app.selectbox(key="source").select("CamVid").run()
    assert_page_stands(app)
    assert not app.error
    assert app.selectbox(key="split").options == ["val", "train"]
    assert app.selectbox(key="file").options == ["one"]


def test_a_camvid_folder_that_lacks_parts_is_said_and_the_rest_used(app, tmp_path, monkeypatch):
    write_camvid(tmp_path, "train")
    (tmp_path / "val").mkdir()
    monkeypatch.setenv("DNL_DATA", str(tmp_path))
    app.run()
    app.selectbox(key="source").select("CamVid").run()
    assert_page_stands(app)
    assert "valannot is missing" in read(app.error[0].value)
    assert app.selectbox(key="split").options == ["train"]


def test_a_folder_that_is_no_camvid_is_said_and_a_street_shown(app, tmp_path, monkeypatch):
    monkeypatch.setenv("DNL_DATA", str(tmp_path / "nowhere"))
    app.run()
    app.selectbox(key="source").select("CamVid").run()
    assert_page_stands(app)
    assert app.error


def test_a_camvid_folder_that_shrinks_between_listing_and_reading_is_said(app, tmp_path, monkeypatch):
    write_camvid(tmp_path, "val")
    write_camvid(tmp_path, "train")
    for folder in ("val", "valannot"):
        (tmp_path / folder / "two.png").write_bytes((tmp_path / folder / "one.png").read_bytes())
    monkeypatch.setenv("DNL_DATA", str(tmp_path))
    app.run()
    app.selectbox(key="source").select("CamVid").run()
    app.selectbox(key="file").select(1).run()
    assert_page_stands(app)
    assert not app.error
    listed = pictures.camvid_splits

    def list_and_lose(notices):
        """The folder is listed; before the image is read, the second one is gone."""
        splits = listed(notices)
        for folder in ("val", "valannot"):
            (tmp_path / folder / "two.png").unlink(missing_ok=True)
        return splits

    monkeypatch.setattr(pictures, "camvid_splits", list_and_lose)
    app.run()
    assert_page_stands(app)  # with a street
    (error,) = app.error
    assert read(error.value) == "Image 2 of CamVid's val is gone: $DNL_DATA holds 1 now; choose another."
    app.run()
    assert_page_stands(app)
    assert not app.error and app.selectbox(key="file").options == ["one"]


def test_a_pinned_camvid_image_that_is_gone_is_no_row_of_a_figure(tmp_path, monkeypatch):
    write_camvid(tmp_path, "val")
    monkeypatch.setenv("DNL_DATA", str(tmp_path))
    place = CamVidPlace("val", 0)
    assert camvid_name(place) == "one" and camvid_name(CamVidPlace("val", 1)) is None
    with pytest.raises(DatasetError, match="image 2 of CamVid's val is gone"):
        pictures.camvid_picture("val", 1, CAMVID)
    (tmp_path / "valannot").rename(tmp_path / "elsewhere")
    assert camvid_name(place) is None


# --- attention files -------------------------------------------------------------------------------------------------


def attention_file(**changes) -> bytes:
    """A ViT-like file: 2 heads of 4 channels, a class token and 3×5 cells."""
    rng = np.random.default_rng(0)
    query, key = (rng.normal(size=(2, 16, 4)) for _ in range(2))
    held = {"query": query, "key": key, "height": 3, "width": 5, "scale": 0.5, "class_tokens": 1} | changes
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in held.items() if array is not None})
    return file.getvalue()


def bring(app: AppTest, content: bytes, name: str = "vit.npz") -> None:
    app.run()
    app.selectbox(key="source").select("Attention file").run()
    app.file_uploader(key="attention file").set_value((name, content, "application/octet-stream")).run()
    assert not app.exception


def test_the_example_of_another_network_is_a_click_away(app):
    app.run()
    next(button for button in app.button if button.label == "A vision transformer").click().run()
    assert_page_stands(app)
    assert app.selectbox(key="source").value == "A vision transformer"
    assert "5 layers, 20 heads: choose one above the lens." in sidebar_words(app)
    first = app.session_state["lens request now"]["place"]
    app.selectbox(key="scene").select(3).run()
    assert_page_stands(app)
    assert app.session_state["lens request now"]["place"] != first


def sidebar_words(app: AppTest) -> str:
    return " ".join(caption.value for caption in app.sidebar.caption)


def choose_map(app: AppTest, chosen: dict) -> None:
    """As the lens reports it."""
    _, image = app.session_state["lens request now"]["place"]
    app.session_state["lens maps"] = {image: chosen}
    app.run()


def test_until_an_attention_file_is_chosen_a_street_is_shown(app):
    app.run()
    app.selectbox(key="source").select("Attention file").run()
    assert_page_stands(app)
    assert "Until you choose a file, the first street is shown." in sidebar_words(app)
    assert app.selectbox(key="model").value == "a-small-one"


@pytest.mark.parametrize("changes", [{}, {"metadata": '{"class_names": ["leaf"]}'}])
def test_an_attention_file_whose_labels_name_no_class_is_shown(app, changes):
    bring(app, attention_file(labels=np.full((3, 5), 255, np.uint64), **changes))
    assert_page_stands(app)
    assert not app.error and not app.warning


def test_labels_in_an_attention_file_of_several_readings_are_asked_for(app):
    labels = np.tile([0, 1, 2, 2, 13], (3, 1))
    names = json.dumps({"class_names": ADE20K.class_names})
    bring(app, attention_file(labels=labels, metadata=names))
    assert "may be class indices or ADE20K annotation" in read(app.error[0].value) and reading(app).value is None
    reading(app).select("annotation").run()
    assert_page_stands(app)
    assert not app.error and pinned_class(app) in ("wall", "building", "person")


def test_an_attention_file_with_labels_has_its_figures_and_needs_no_model(app):
    labels = np.tile([0, 0, 1, 1, 1], (3, 1))
    bring(app, attention_file(labels=labels))
    assert_page_stands(app)
    assert not app.error and not app.warning
    assert pinned_class(app) in ("class 0", "class 1")
    assert "no model is run" in sidebar_words(app) and "2 heads: choose one above the lens" in sidebar_words(app)
    assert "model" not in [box.key for box in app.selectbox]
    assert any("A file does not say what its attention is worth" in text.value for text in app.markdown)
    before = figures(app)
    choose_map(app, {"layer": "", "head": 1})
    assert_page_stands(app)
    assert figures(app)["effective_keys"] != before["effective_keys"]
    app.selectbox(key="source").select("Built-in streets").run()
    assert_page_stands(app)
    assert app.selectbox(key="model").value == "a-small-one"


def test_the_heads_of_all_layers_of_a_file_are_measured_as_they_are_chosen(app):
    rng = np.random.default_rng(1)
    arrays = {f"blocks.{layer}/{part}": rng.normal(size=(2, 16, 4)) for layer in (0, 1) for part in ("query", "key")}
    labels = np.tile([0, 0, 1, 1, 1], (3, 1))
    bring(app, attention_file(query=None, key=None, labels=labels, **arrays))
    assert_page_stands(app)
    assert not app.error and "2 layers, 4 heads: choose one above the lens" in sidebar_words(app)
    found = [figures(app)["effective_keys"]]
    app.checkbox(key="rollout").check().run()
    for chosen in (
        {"layer": "blocks.0", "head": 1},
        {"layer": "blocks.0", "head": "mean"},
        {"layer": "rollout (derived)", "head": 0},
        {"layer": "no such", "head": 0},
    ):
        choose_map(app, chosen)
        assert_page_stands(app)
        found.append(figures(app)["effective_keys"])
    assert len(set(map(str, found[:4]))) == 4 and found[4] == found[0]  # the last layer's first head, at first


def test_layers_that_share_no_tokens_have_no_rollout(app):
    arrays = {f"s.{layer}/query": np.ones((1, 15, 2)) for layer in (0, 1)} | {"s.0/key": np.ones((1, 15, 2))}
    apart = {"s.1/key": np.ones((1, 2, 2)), "s.1/key_height": 1, "s.1/key_width": 2}
    bring(app, attention_file(query=None, key=None, class_tokens=0, **arrays, **apart))
    assert app.checkbox(key="rollout").disabled and "those of s.1 are others" in sidebar_words(app).replace("\\", "")


def test_an_attention_file_is_shown_without_any_checkpoint(app, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "ZOO", tmp_path)
    bring(app, attention_file(prediction=np.tile([0, 0, 1, 1, 1], (3, 1))))
    assert_page_stands(app)
    assert "own prediction, which flatters it" in app.warning[0].value


def test_an_attention_file_without_classes_has_maps_and_says_what_is_missing(app):
    bring(app, attention_file())
    assert "no noise figures: they need classes" in app.info[0].value
    assert not app.error and not app.table
    assert [button.label for button in app.get("download_button")] == EXPORTS


def test_a_finished_map_is_shown(app):
    maps = np.random.default_rng(0).random((15, 15))
    labels = np.tile([0, 0, 1, 1, 1], (3, 1))
    changes = dict.fromkeys(("query", "key", "scale", "class_tokens"))
    bring(app, attention_file(**changes, attention=maps, labels=labels))
    assert_page_stands(app)
    assert "head" not in [box.key for box in app.selectbox]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not a file", "is not a readable .npz or .safetensors file"),
        (attention_file(class_tokens=0), "pass class_tokens=1"),
        (attention_file(key=None), "it has no key"),
        (
            attention_file(query=np.array([1, np.nan])[:, None, None] * np.ones((2, 16, 4))),
            "head 1 of the layer: query",
        ),
    ],
)
def test_an_attention_file_that_does_not_fit_gets_one_sentence_and_no_other_image(app, content, words):
    bring(app, content)
    assert len(app.error) == 1 and words in read(app.error[0].value)
    assert len([box for box in app.selectbox if box.label == "Compare with"]) < 2
    assert not app.get("bidi_component") and not app.subheader  # neither a lens nor figures
    app.selectbox(key="source").select("Built-in streets").run()
    assert_page_stands(app)
    assert not app.error


def test_a_map_too_large_for_the_lens_is_said(app, monkeypatch):
    monkeypatch.setattr("analysis.lens.payload.MAX_MAP_CELLS", 14)
    maps = np.random.default_rng(0).random((15, 15))
    bring(app, attention_file(query=None, key=None, scale=None, class_tokens=None, attention=maps))
    assert not app.exception
    assert "the lens shows up to 14" in read(app.error[0].value)


def test_everything_can_be_taken_home(app):
    app.run()
    assert [button.label for button in app.get("download_button")] == EXPORTS
    assert not app.code  # what is folded away comes when it is opened
    app.session_state["caption to copy"] = True
    app.run()
    caption = next(block.value for block in app.code if block.value.startswith("Attention of"))
    assert "checkpoint a-small-one (" in caption and "Street 1" in caption


def offered(app: AppTest) -> bool:
    """Whether the zip file is there to download; where it is not, the page must say why."""
    assert not app.exception and not app.error
    found = "Download the zip file" in [button.label for button in app.get("download_button")]
    assert found != any(caption.value == OTHER_BATCH for caption in app.caption)
    return found


def made_batch(app: AppTest, scenes: list[int]) -> AppTest:
    app.session_state["batch open"] = True
    app.run()
    app.multiselect(key="batch scenes").set_value(scenes).run()
    app.button(key="batch make").click().run()
    assert offered(app)
    return app


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch scenes", [1, 2]),
        ("batch pixels", OWN_PIXEL),
        ("lens choices", {"gate": "off"}),
        ("lens look", {"scale": "log"}),
        ("lens look", {"colormap": "greys"}),
        ("scene", 3),  # the pins are that image's then
        ("compared with", "another"),
    ],
)
def test_a_batch_made_for_other_choices_is_not_offered(zoo, tmp_path, monkeypatch, name, value):
    shutil.copy(zoo / "a-small-one.safetensors", tmp_path)
    save_network(tmp_path / "another.safetensors", stride=8, seed=1)
    app = made_batch(app_on(tmp_path, monkeypatch), [1])
    before = app.session_state.get(name)
    app.session_state[name] = value
    assert not offered(app.run())
    app.session_state[name] = before
    assert offered(app.run())  # it was not lost


def test_a_batch_of_other_photos_under_the_same_name_is_not_offered(app):
    photos = [png(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)) for seed in (0, 1)]
    app.session_state["batch open"] = True
    app.session_state["batch source"] = "Your photos"
    app.run()
    app.file_uploader(key="batch photos").set_value([("mine.png", photos[0], "image/png")]).run()
    app.button(key="batch make").click().run()
    assert offered(app)
    app.file_uploader(key="batch photos").set_value([("mine.png", photos[1], "image/png")]).run()
    assert not offered(app)
    app.button(key="batch make").click().run()
    assert offered(app)


def test_a_batch_says_what_was_left_out_for_as_long_as_its_choices_stand(app):
    photo = png(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    app.session_state["batch open"] = True
    app.session_state["batch source"] = "Your photos"
    app.run()
    files = [("torn.png", photo[:60], "image/png"), ("mine.png", photo, "image/png")]
    app.file_uploader(key="batch photos").set_value(files).run()
    app.button(key="batch make").click().run()
    for _ in range(2):
        assert [error.value.partition(":")[0] for error in app.error] == [f"{literal('torn.png')} was left out"]
        assert "Download the zip file" in [button.label for button in app.get("download_button")]
        app.run()
    app.file_uploader(key="batch photos").set_value(files[:1]).run()
    assert not app.error
    app.button(key="batch make").click().run()
    assert [error.value.partition(":")[0] for error in app.error] == [f"{literal('torn.png')} was left out"]
    assert OTHER_BATCH in [caption.value for caption in app.caption]  # the file made before was not lost
