import dataclasses
import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import analysis.figures.command
from analysis.figures import figure_file, figure_preview, has_ffmpeg, main, recorded
from analysis.figures.recipe import (
    Annotation,
    Attention,
    CamVidImage,
    FileImage,
    Look,
    Recipe,
    Row,
    Scale,
    StreetImage,
    recipe_from_json,
    recipe_to_json,
)
from analysis.geometry import pixel_to_cell
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from dnl.checkpoints import file as checkpoints
from pages.parts.app.links import packed
from pages.parts.figures.sources import labels_by_photo
from tests.pages.small import APP, app_on, png, read, save_network

PAGE = "pages/figures.py"


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    for seed, name in enumerate(("a-small-one", "another")):
        save_network(folder / f"{name}.safetensors", stride=8, seed=seed)
    return folder


@pytest.fixture
def drawn(monkeypatch) -> list[tuple]:
    """The arguments of every figure that the page has had drawn."""
    calls = []

    def record(*arguments):
        calls.append(arguments)
        return figure_preview(*arguments)

    monkeypatch.setattr(analysis.figures, "figure_preview", record)
    return calls


@pytest.fixture
def app(zoo, monkeypatch, drawn) -> AppTest:
    return app_on(zoo, monkeypatch).run().switch_page(PAGE)


PHOTO = png(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
LABELS = png(np.repeat(np.arange(8, dtype=np.uint8) % 3, 8)[None].repeat(48, 0))


def opened(app: AppTest, recipe: Recipe | dict | str, name: str = "recipe.json") -> AppTest:
    """The page after a recipe was opened."""
    if isinstance(recipe, dict):
        recipe = json.dumps(recipe)
    text = recipe_to_json(recipe) if isinstance(recipe, Recipe) else recipe
    return app.file_uploader(key="figure recipe file").set_value((name, text.encode(), "application/json")).run()


def errors(app: AppTest) -> list[str]:
    assert not app.exception
    return [read(error.value) for error in app.error]


def size_of(app: AppTest) -> str:
    """What stands beneath the preview; "" without one."""
    return next((caption.value for caption in app.caption if caption.value.endswith("inches")), "")


def last(drawn: list[tuple]) -> Recipe:
    return drawn[-1][0]


def one_row(recipe: Recipe, **changes) -> Recipe:
    return dataclasses.replace(recipe, rows=(dataclasses.replace(recipe.rows[0], **changes),))


def test_a_figure_of_streets_is_there_at_once(app, drawn, zoo):
    app.run()
    assert not errors(app)
    assert re.fullmatch(r"7\.16 × 2\.\d\d inches", size_of(app))
    recipe = last(drawn)
    assert [row.image for row in recipe.rows] == [StreetImage(4)] * 2
    assert recipe.attention == Attention() and {row.title for row in recipe.rows} == {""} and recipe.look.class_titles
    gate = app.selectbox(key="figure gate")
    assert gate.value == "model" and "the model's own (sigmoid)" in gate.options
    digest = hashlib.sha256((zoo / "a-small-one.safetensors").read_bytes()).hexdigest()
    assert [(found.name, found.sha256) for found in recipe.checkpoints] == [("a-small-one", digest)]
    labels = [button.label for button in app.get("download_button")]
    motion = ["Motion (GIF)", "Motion (WebP)", *["Motion (MP4)"] * has_ffmpeg()]
    assert labels == ["PDF", "SVG", "PNG, 300 dpi", "PNG, 600 dpi", *motion, "Recipe"]
    assert has_ffmpeg() or any("ffmpeg" in caption.value for caption in app.caption)
    assert not app.code  # what is folded away comes when it is opened
    app.session_state["figure caption"] = True
    app.run()
    assert "Attention of 2 pixels in Street 5" in app.code[0].value


def test_the_command_makes_the_pages_file_from_its_recipe(app, drawn, tmp_path):
    app.run()
    recipe, captures, hashes, *_ = drawn[-1]
    (tmp_path / "recipe.json").write_text(recipe_to_json(recipe), encoding="utf-8")
    for file_format in ("pdf", "png"):
        out = tmp_path / f"out.{file_format}"
        assert main([str(tmp_path / "recipe.json"), str(out)]) == 0
        assert out.read_bytes() == figure_file(recipe, captures, hashes, file_format, 300)


def test_every_choice_reaches_the_recipe(app, drawn):
    app.run()
    app.multiselect(key="figure columns").set_value(["raw", "rectified-raw"])
    app.selectbox(key="figure gate").select("none")
    app.selectbox(key="figure lr_kernel").select("5")
    app.selectbox(key="figure kind").select("log")
    app.selectbox(key="figure width words").select("One column, 3.5 in")
    app.selectbox(key="figure letters").select("panels")
    app.number_input(key="figure font_size").set_value(6.0)
    app.toggle(key="figure query_marker").set_value(False)
    app.text_input(key="figure row 0 title").set_value("first")
    app.number_input(key="figure row 0 x").set_value(17)
    app.selectbox(key="figure row 1 checkpoint").select("another").run()
    assert not errors(app)
    recipe = last(drawn)
    assert recipe.columns == ("raw", "rectified-raw") and recipe.column_titles is None
    assert (recipe.attention.gate, recipe.attention.lr_kernel, recipe.scale.kind) == (None, 5, "log")
    assert (recipe.look.width, recipe.look.letters, recipe.look.font_size) == (3.5, "panels", 6.0)
    assert not recipe.look.query_marker
    assert recipe.rows[0].title == "first" and recipe.rows[0].pixel == (290, 17)
    assert recipe.rows[1].checkpoint == "another"
    assert [found.name for found in recipe.checkpoints] == ["a-small-one", "another"]
    app.toggle(key="figure own titles").set_value(True).run()
    app.text_input(key="figure title raw").set_value("softmax").run()
    assert last(drawn).column_titles == ("softmax", "rectified − raw")


def test_a_publishers_style_sets_what_can_be_changed_afterwards(app, drawn):
    app.run()
    app.selectbox(key="figure style").select("springer").run()
    assert last(drawn).look == Look("springer", class_outline="true", class_titles=True)
    app.selectbox(key="figure letters").select("none")
    app.number_input(key="figure font_size").set_value(6.0)  # or the titles have no room
    app.selectbox(key="figure width words").select("One column, 3.307 in").run()
    assert not errors(app)
    look = last(drawn).look
    assert (look.style, look.width, look.letters, look.font_size) == ("springer", 3.307, "none", 6.0)


def test_annotations_are_typed_moved_and_removed(app, drawn):
    app.run()
    app.button(key="add annotation").click().run()
    assert last(drawn).rows[0].annotations == (Annotation("arrow", (48, 48), (24, 24)),)
    app.number_input(key="figure annotation 0 y").set_value(100)
    app.selectbox(key="figure annotation 0 row").set_value(1)
    app.button(key="add annotation").click().run()
    app.selectbox(key="figure annotation 1 kind").set_value("text").run()
    app.text_input(key="figure annotation 1 text").set_value("kerb")
    app.selectbox(key="figure annotation 1 colour").set_value("yellow").run()
    rows = last(drawn).rows
    text = Annotation("text", (48, 48), None, "kerb", colour="yellow")
    assert [row.annotations for row in rows] == [(text,), (Annotation("arrow", (100, 48), (24, 24)),)]
    app.number_input(key="figure annotation 0 to y").set_value(100)
    app.number_input(key="figure annotation 0 to x").set_value(48).run()
    assert "is an arrow whose two ends are one pixel" in errors(app)[0]
    app.button(key="remove annotation 0").click().run()
    assert not errors(app) and [row.annotations for row in last(drawn).rows] == [(text,), ()]
    opened(app, last(drawn))
    assert [row.annotations for row in last(drawn).rows] == [(text,), ()]


def test_choices_outlive_a_change_of_page(app, drawn):
    app.run()
    app.number_input(key="figure row 0 x").set_value(100)
    app.selectbox(key="figure colormap").select("cividis").run()
    before = last(drawn)
    app.switch_page("pages/explorer.py").run()
    drawn.clear()
    app.switch_page(PAGE).run()
    assert not errors(app)
    assert last(drawn) == before and before.look.colormap == "cividis" and before.rows[0].pixel == (290, 100)


def test_rows_come_and_go(app, drawn):
    app.run()
    next(button for button in app.button if button.label == "Add a row").click().run()
    assert len(last(drawn).rows) == 3 and last(drawn).rows[2] == dataclasses.replace(last(drawn).rows[1], title="")
    app.text_input(key="figure row 1 title").set_value("Kerb")
    app.button(key="remove row 0").click().run()
    assert [(row.title, row.pixel) for row in last(drawn).rows] == [("Kerb", (210, 180)), ("", (210, 180))]
    app.button(key="remove row 1").click().run()
    assert app.button(key="remove row 0").disabled


VIEW = {
    "image": "street-3",
    "model": "another",
    "pins": "30.40_50.60",
    "gate": "similarity",
    "retention": "box",
    "kernel": "5",
    "temperature": "2",
    "scale": "log",
    "clip": "95",
    "colormap": "viridis",
}


def explored(app: AppTest, **parameters: str) -> AppTest:
    """The Explorer's view of a link, in a session that may have seen the Figures page."""
    app.switch_page("pages/explorer.py")
    app.query_params.clear()
    for name, value in parameters.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def laid_out(app: AppTest) -> AppTest:
    """The Figures page, by the Explorer's button."""
    app.button(key="to figures").click().run()
    assert not errors(app) and app.title[0].value == "A figure for the paper"
    return app.switch_page(PAGE).run()  # the test harness has to be told


def test_the_explorers_view_becomes_a_figure_and_the_example_comes_back(app, drawn):
    app.run()
    example = last(drawn)
    laid_out(explored(app, **VIEW))
    recipe = last(drawn)
    assert recipe.rows == (Row(StreetImage(2), (30, 40)), Row(StreetImage(2), (50, 60)))
    assert [found.name for found in recipe.checkpoints] == ["another"]
    assert recipe.attention == Attention("similarity", 5, "box", 2.0)
    assert recipe.scale == Scale("log", 95.0)
    assert (recipe.look.colormap, recipe.look.class_outline) == ("viridis", "true")
    assert recipe.columns == example.columns and recipe.look.width == example.look.width
    next(button for button in app.button if button.label == "Back to the example").click().run()
    assert not errors(app) and last(drawn) == example


def test_what_the_model_does_itself_stays_its_own_in_the_figure(app, drawn):
    laid_out(explored(app, image="street-1"))
    assert last(drawn).attention == Attention("model", "model", "model", 1.0)
    assert len(last(drawn).rows) == 1  # the pixel that the Explorer shows where none is pinned
    laid_out(explored(app, image="street-1", gate="off", retention="off"))
    assert (last(drawn).attention.gate, last(drawn).attention.lr_kernel) == (None, None)


def test_the_figure_has_the_numbers_of_the_explorers_table(app, drawn):
    explored(app, **VIEW)
    (table,) = [block.proto.body for block in app.get("html") if 'data-figure="chance"' in block.proto.body]
    shown = [float(value) for value in re.findall(r'data-figure="interclass_noise" class="noise">([\d.]+)<', table)]
    laid_out(app)
    recipe, (capture, *_), *_ = drawn[-1]
    cells = [pixel_to_cell(*row.pixel, capture.image_size, capture.cells) for row in recipe.rows]
    queries = [row * capture.width + column for row, column in cells]
    stages = attention_rows(capture, queries, **dataclasses.asdict(recipe.attention))
    metrics = [query_metrics(rows, capture.cell_labels, queries, ignore_index=capture.ignore_index) for rows in stages]
    found = [metrics[stage].interclass_noise[pin] for pin in range(2) for stage in range(3)]
    np.testing.assert_allclose(found, shown, atol=6e-4)


def test_two_models_become_rows_of_one_figure(app, drawn):
    laid_out(explored(app, **VIEW, **{"with": "a-small-one"}))
    assert [(row.pixel, row.checkpoint) for row in last(drawn).rows] == [
        (pixel, name) for pixel in ((30, 40), (50, 60)) for name in ("another", "a-small-one")
    ]
    assert not app.info


def test_two_models_that_differ_in_their_lr_have_rows_of_their_own(app, drawn, zoo):
    plain = save_network(zoo / "plain.safetensors", "nl", stride=8)
    try:
        # Another window is chosen for LR, which the second model does not have.
        laid_out(explored(app, **{"image": "street-3", "model": "another", "kernel": "5", "with": "plain"}))
        first, second = (row.attention for row in last(drawn).rows)
        assert (first.gate, first.lr_kernel, second.gate, second.lr_kernel) == ("sigmoid", 5, None, None)
        assert not app.info
        app.toggle(key="figure row 0 inset").set_value(True).run()
        app.number_input(key="figure row 0 inset left").set_value(200)
        app.multiselect(key="figure row 1 columns").set_value(["photo", "raw"]).run()
        assert not errors(app) and last(drawn).rows[0].inset == (0, 200, 120, 160)
        assert last(drawn).rows[1].columns == ("photo", "raw")
    finally:
        plain.unlink()


def test_the_explorers_pins_on_all_images_become_rows(app, drawn):
    explored(app, image="street-1", pins="30.40_50.60")
    explored(app, image="street-2", pins="70.80", gate="binary")
    app.session_state["lens pins"] = {**app.session_state["lens pins"], "0123": [[1, 2]]}
    app.switch_page(PAGE).run()
    next(button for button in app.button if button.label == "Rows from the Explorer's pins (3)").click().run()
    assert not errors(app)
    assert [(row.image.index, row.pixel) for row in last(drawn).rows] == [(0, (30, 40)), (0, (50, 60)), (1, (70, 80))]
    assert last(drawn).attention.gate == "binary"


def test_a_photo_of_ones_own_without_labels_becomes_a_figure(app, drawn):
    app.switch_page("pages/explorer.py").run()
    app.selectbox(key="source").select("Your photo").run()
    app.file_uploader(key="photo").set_value(("mine.png", PHOTO, "image/png")).run()
    laid_out(app)
    assert [row.image.path for row in last(drawn).rows] == ["mine.png"]
    assert last(drawn).columns == ("photo", "prediction", "raw", "rectified", "retained")
    assert last(drawn).look.class_outline == "predicted"


def test_what_cannot_be_drawn_is_said_and_mended(app, drawn):
    app.run()
    app.multiselect(key="figure columns").set_value([]).run()
    assert errors(app) == ["Columns is empty or has an entry twice; name each column once."]
    app.multiselect(key="figure columns").set_value(["raw"])
    app.number_input(key="figure row 1 y").set_value(4000).run()
    assert len(errors(app)) == 1 and "off the image, which has 360 rows and 480 columns" in errors(app)[0]
    assert not size_of(app)
    app.number_input(key="figure row 1 y").set_value(40).run()
    assert not errors(app) and size_of(app)


def test_a_recipe_can_be_opened_again(app, drawn):
    app.run()
    look = dataclasses.replace(last(drawn).look, width=4.5, class_outline="true")
    wanted = dataclasses.replace(one_row(last(drawn), pixel=(9, 8)), look=look, column_titles=("a", "b", "c", "d", "e"))
    opened(app, wanted)
    assert not errors(app)
    assert last(drawn) == wanted
    assert app.number_input(key="figure row 0 y").value == 9


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("{", "not readable JSON"), ('{"rows": 1, "checkpoints": []}', "rows is 1"), ('{"format": 9}', "format is 9")],
)
def test_a_file_that_is_no_recipe_leaves_the_figure_as_it_is(app, drawn, text, sentence):
    app.run()
    before = last(drawn)
    opened(app, text, "mine.json")
    assert len(errors(app)) == 1
    assert errors(app)[0].startswith("mine.json cannot be used: ") and sentence in errors(app)[0]
    assert last(drawn) == before and size_of(app)


def test_a_strangers_recipe_opens_no_file_of_the_server(app, drawn, zoo, tmp_path, monkeypatch):
    (tmp_path / "secret.png").write_bytes(PHOTO)
    for name in ("val", "valannot", "train", "trainannot"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "one.png").write_bytes(LABELS)
    monkeypatch.setenv("DNL_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    app.run()
    usual = last(drawn)
    count = len(drawn)
    for path in (str(tmp_path / "secret.png"), "secret.png", "../secret.png", "/etc/passwd"):
        opened(app, one_row(usual, image=FileImage(path)))
        assert len(errors(app)) == 1 and f"{path!r} is not among your files" in errors(app)[0]
    for file in ("../../secret", str(tmp_path / "secret"), "one.png"):
        opened(app, one_row(usual, image=CamVidImage("val", file)))
        assert len(errors(app)) == 1 and "has no file" in errors(app)[0]
    model = str(zoo / "a-small-one.safetensors")
    opened(app, json.loads(recipe_to_json(usual)) | {"checkpoints": [{"name": model}]})
    assert len(errors(app)) == 1 and "it is not here; choose one of a-small-one, another" in errors(app)[0]
    assert len(drawn) == count
    opened(app, one_row(usual, image=CamVidImage("val", "one"), pixel=(0, 0)))
    assert not errors(app)


def test_another_checkpoint_under_the_same_name_is_said_and_can_be_used(app, drawn):
    app.run()
    values = json.loads(recipe_to_json(last(drawn)))
    values["checkpoints"][0]["sha256"] = "ab" * 32
    opened(app, values)
    assert len(errors(app)) == 1 and "the recipe was made with abababababab" in errors(app)[0]
    next(button for button in app.button if button.label == "Use the files that are here").click().run()
    assert not errors(app) and last(drawn).checkpoints[0].sha256 != "ab" * 32


def test_what_differs_from_when_a_recipe_was_saved_is_said(app, drawn):
    app.run()
    recipe, captures, hashes, *_ = drawn[-1]
    saved = recorded(recipe, captures, hashes)
    opened(app, saved)
    assert not errors(app) and not app.info  # all is as it was
    street = dataclasses.replace(saved.record.images[0], image_sha256="ab" * 32)
    versions = dataclasses.replace(saved.record.versions, torch="1.0")
    opened(
        app, dataclasses.replace(saved, record=dataclasses.replace(saved.record, versions=versions, images=(street,)))
    )
    torch_line, image_line = read(app.info[0].value).splitlines()
    assert torch_line.endswith("the recipe was saved with 1.0.") and "abababababab… then" in image_line
    assert image_line.startswith("- Street 5: the image differs from when the recipe was saved")
    opened(app, recipe)  # has no record
    assert not errors(app) and not app.info


def test_own_photos_join_the_images_and_their_recipe_works_beside_them(app, drawn, tmp_path):
    app.run()
    photos = [("mine.png", PHOTO, "image/png"), ("other.png", PHOTO, "image/png")]
    app.file_uploader(key="figure photos").set_value(photos)
    app.file_uploader(key="figure labels").set_value([("mine-labels.png", LABELS, "image/png")]).run()
    digests = hashlib.sha256(PHOTO).hexdigest(), hashlib.sha256(LABELS).hexdigest()
    mine = FileImage("mine.png", "mine-labels.png", *digests)
    options = app.selectbox(key="figure row 0 image").options
    assert options[-2:] == ["mine.png (with labels)", "other.png"]
    opened(app, one_row(last(drawn), image=mine, pixel=(40, 60)))
    assert not errors(app)
    recipe, captures, hashes, *_ = drawn[-1]
    assert recipe.rows[0].image == mine
    assert captures[0].labels[0].tolist() == np.repeat(np.arange(8) % 3, 8).tolist()
    for name, content in (("mine.png", PHOTO), ("mine-labels.png", LABELS)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "recipe.json").write_text(recipe_to_json(recipe), encoding="utf-8")
    assert main([str(tmp_path / "recipe.json"), str(tmp_path / "out.svg")]) == 0
    assert (tmp_path / "out.svg").read_bytes() == figure_file(recipe, captures, hashes, "svg")
    assert recipe_from_json((tmp_path / "recipe.json").read_bytes()) == recipe


def test_label_files_find_their_photos_by_name():
    photos = ["img_1.jpg", "img_10.jpg", "street.png", "street two (1).jpg"]
    labels = ["img_10_labels.png", "img_1_labels.png", "img_2.png", "streets.png", "street two (1)-labels.PNG"]
    assert labels_by_photo(photos, labels) == {
        "img_10.jpg": "img_10_labels.png",
        "img_1.jpg": "img_1_labels.png",
        "street two (1).jpg": "street two (1)-labels.PNG",
    }
    assert labels_by_photo(["img_1.jpg"], labels[:1]) == {}  # is of a photo that is not here
    assert labels_by_photo(["a.jpg"], ["a-colours.png", "a.png", "a-labels.png"]) == {"a.jpg": "a.png"}


def test_label_files_of_no_photo_and_photos_turned_by_their_exif_are_said(app):
    app.run()
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 3
    Image.open(io.BytesIO(PHOTO)).save(file, "PNG", exif=exif)
    app.file_uploader(key="figure photos").set_value([("mine.png", file.getvalue(), "image/png")])
    labels = [(name, LABELS, "image/png") for name in ("mine-labels.png", "mine2-labels.png")]
    app.file_uploader(key="figure labels").set_value(labels).run()
    other, turned = (read(warning.value) for warning in app.warning)
    assert other == "mine2-labels.png is of no photo here: name it like its photo."
    assert turned.startswith("mine.png: The photo is read turned by its EXIF orientation 3, its label image as it is")


def test_what_own_labels_are_read_as_is_part_of_the_recipe(app, drawn):
    app.run()
    raw = png(np.where(np.arange(64) < 32, 17, 21).astype(np.uint8)[None].repeat(48, 0))
    app.file_uploader(key="figure photos").set_value([("mine.png", PHOTO, "image/png")])
    app.file_uploader(key="figure labels").set_value([("mine-labels.png", raw, "image/png")]).run()
    digests = hashlib.sha256(PHOTO).hexdigest(), hashlib.sha256(raw).hexdigest()
    opened(app, one_row(last(drawn), image=FileImage("mine.png", "mine-labels.png", *digests), pixel=(40, 60)))
    assert 'name the coding "32-indices"' in read(errors(app)[0])
    app.selectbox(key="figure coding").select("32-indices").run()
    assert not errors(app)
    recipe, captures, *_ = drawn[-1]
    assert recipe.rows[0].image.labels_coding == "32-indices"
    assert set(captures[0].labels.ravel().tolist()) == {0, 3}
    assert recipe_from_json(recipe_to_json(recipe)) == recipe


def test_no_model_at_all_is_said_in_words(app, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "ZOO", tmp_path)
    app.run()
    assert "no checkpoint" in errors(app)[0]


def test_a_link_holds_the_recipe(app):
    app.run()
    assert "recipe" not in app.query_params  # nothing was changed
    app.selectbox(key="figure colormap").select("cividis").run()
    link = app.query_params["recipe"]
    fresh = AppTest.from_file(str(APP), default_timeout=300).switch_page(PAGE)
    fresh.query_params["recipe"] = link
    fresh.run()
    assert not fresh.exception and not fresh.warning and not fresh.error
    assert fresh.selectbox(key="figure colormap").value == "cividis" and fresh.query_params["recipe"] == link


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("%%%", "recipe ("),
        ("AAAA", "cannot be unpacked"),
        (packed("{}"), "checkpoints is missing"),
        (packed(" " * 200_000), "longer than"),
        (packed("[1]")[:6], "recipe ("),
    ],
)
def test_a_link_that_holds_no_recipe_is_named(app, drawn, link, reason):
    app.query_params["recipe"] = link
    app.run()
    assert not app.exception
    assert reason in re.sub(r"\\(.)", r"\1", app.warning[0].value)
    assert drawn
