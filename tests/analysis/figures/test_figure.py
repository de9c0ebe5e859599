import dataclasses
import itertools
import json

import matplotlib
import numpy as np
import pytest

from analysis import Capture
from analysis.figures import attention_figure, caption_text, recipe_figure, recipe_from_json, recipe_to_json, shares
from analysis.figures.drawing import UNSEEN
from analysis.figures.recipe import COLUMNS, Attention, Checkpoint, Look, Recipe, RecipeError, Row, Scale, StreetImage
from analysis.geometry import Grid
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from dnl.classes import CAMVID
from tests.analysis.figures.small import (
    CHANGES,
    MAPS,
    PIXELS,
    QUERIES,
    SIZE,
    bars,
    caption,
    draw,
    make_capture,
    make_recipe,
    panels,
    words,
)


@pytest.fixture
def capture():
    return make_capture()


# --- what is drawn ---------------------------------------------------------------------------------------------------


def test_a_row_a_query_and_a_column_a_picture(capture):
    figure = attention_figure(capture, QUERIES)
    shown = panels(figure)
    assert len(shown) == 2 * 6 and len(bars(figure)) == 1
    names = ["photo", "labels", "prediction", *MAPS]
    assert [text for text in words(figure) if text in names] == names
    assert (shown[0].images[0].get_array() == capture.image).all()
    assert (shown[1].images[0].get_array() == CAMVID.colour(capture.labels)).all()
    assert (shown[2].images[0].get_array() == CAMVID.colour(capture.prediction)).all()
    assert caption(figure, shown[0]) == "row {}, column {}".format(*PIXELS[0])
    assert caption(figure, shown[7]) == CAMVID.class_names[capture.cell_labels.flat[QUERIES[1]]]
    assert caption(figure, shown[8]) == CAMVID.class_names[capture.cell_prediction.flat[QUERIES[1]]]


def test_maps_are_the_rows_and_carry_their_noise(capture):
    figure = attention_figure(capture, QUERIES, scale="shared", gate="binary", lr_weights="box", temperature=0.5)
    stages = attention_rows(capture, QUERIES, gate="binary", lr_weights="box", temperature=0.5)
    shown = panels(figure)
    for column, rows in enumerate(stages):
        metrics = query_metrics(rows, capture.cell_labels, QUERIES, ignore_index=11)
        for row in range(2):
            ax = shown[row * 6 + 3 + column]
            assert (ax.images[0].get_array() == rows[row]).all()
            noise, chance = metrics.interclass_noise[row], metrics.chance[row]
            assert caption(figure, ax) in (
                f"interclass noise {noise:.2f}\n{noise / chance:.2f} × chance",
                f"noise {noise:.2f}\n{noise / chance:.2f} × chance",
            )
    assert "binary gate" in words(figure) and "constant box 3×3" in words(figure)


def test_the_recipe_decides_how_the_maps_are_computed(capture):
    attention = Attention(gate=None, lr_kernel=5, lr_weights="learnt", temperature=2.0)
    figure = draw(capture, scale=Scale("shared"), attention=attention)
    stages = attention_rows(capture, QUERIES, gate=None, lr_kernel=5, temperature=2.0)
    drawn = [ax.images[0].get_array() for ax in panels(figure)]
    for place, (row, stage) in enumerate(itertools.product(range(2), (stages.raw, stages.retained))):
        assert (drawn[place] == stage[row]).all()
    assert len(drawn) == 4 and "rectified" not in words(figure) and "LR 5×5" in words(figure)


def test_rows_are_named_by_what_they_show_until_a_title_is_typed(capture):
    def titles(pixels, typed="", **models):
        rows = [Row(StreetImage(0), pixel, typed, name) for pixel, name in zip(pixels, models.values(), strict=True)]
        recipe = Recipe((Checkpoint("a"), Checkpoint("b")), tuple(rows), MAPS, look=Look(class_titles=True))
        return set(words(recipe_figure(recipe, [capture] * len(rows))))

    names = [CAMVID.class_names[capture.labels[pixel]] for pixel in PIXELS]
    assert names[0] != names[1]
    assert names[0] in titles(PIXELS[:1], first=None) and names[0] not in titles(PIXELS[1:], first=None)
    assert names[1] in titles(PIXELS[1:], first=None)
    assert "typed" in titles(PIXELS[:1], "typed", first=None) and names[0] not in titles(
        PIXELS[:1], "typed", first=None
    )
    both = [PIXELS[0], PIXELS[0]]
    assert {f"{names[0]} · a", f"{names[0]} · b"} <= titles(both, first=None, second="b")
    assert names[0] not in words(draw(capture, pixels=PIXELS[:1]))  # nor where no titles were asked for


def test_rows_have_attention_columns_crops_and_insets_of_their_own(capture):
    rows = (
        Row(StreetImage(0), PIXELS[0], attention=Attention(gate="binary"), crop=(0, 8, 24, 40)),
        Row(StreetImage(0), PIXELS[0], columns=("photo", "rectified"), inset=(8, 24, 16, 32)),
    )
    recipe = Recipe((Checkpoint("a"),), rows, ("photo", *MAPS), look=Look(class_titles=True, letters="rows"))
    figure = recipe_figure(recipe, [capture] * 2)
    shown = panels(figure)
    assert len(shown) == 4 + 2 + 2  # the second row's two panels, and those of its inset
    binary, own = (shares(attention_rows(capture, QUERIES[:1], gate=gate).rectified)[0] for gate in ("binary", "model"))
    assert (shown[2].images[0].get_array() == binary).all() and (shown[5].images[0].get_array() == own).all()
    assert shown[2].images[0].get_clim() == shown[5].images[0].get_clim()  # two gates on one scale
    assert shown[0].get_xlim() == (7.5, 47.5) and shown[0].get_ylim() == (23.5, -0.5)
    assert shown[6].get_xlim() == (23.5, 55.5) and shown[6].get_ylim() == (23.5, 7.5)
    box = shown[6].get_position()
    width, height = figure.get_size_inches()
    assert box.width * width / (box.height * height) == pytest.approx(32 / 16)
    (frame,) = shown[5].patches
    assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (23.5, 7.5, 32, 16)
    said = " ".join(words(figure))
    assert "binary gate, LR 3×3" in said and "(b)" in said and "(c)" not in said
    caption = caption_text(recipe, [capture] * 2, {"a": "0" * 64})
    assert "Rows: 1 binary gate, LR 3×3; 2 sigmoid gate, LR 3×3. Framed parts are enlarged beneath." in caption
    assert recipe_from_json(recipe_to_json(recipe)) == recipe
    off = dataclasses.replace(rows[0], crop=(0, 40, 24, 40))
    with pytest.raises(RecipeError, match=r"the crop \[0, 40, 24, 40\] does not lie on the image of 40×72 pixels"):
        recipe_figure(dataclasses.replace(recipe, rows=(off,)), [capture])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crop": [0, 0, 4, 40]}, r"rows\[0\].crop is \[0, 0, 4, 40\]; it must be .* at least 8"),
        ({"columns": ["labels"]}, r"rows\[0\].columns has 'labels'; choose from the figure's, raw"),
        ({"attention": {"gate": "none"}}, r"rows\[0\].attention.gate is"),
        ({"inset": [0, 0, 9]}, r"rows\[0\].inset is \[0, 0, 9\]"),
    ],
)
def test_what_a_row_cannot_have_is_named(changes, words):
    values = json.loads(recipe_to_json(make_recipe(("raw",), PIXELS[:1])))
    values["rows"][0] |= changes
    with pytest.raises(RecipeError, match=words):
        recipe_from_json(json.dumps(values))


def test_a_stage_that_one_network_lacks_is_no_panel_of_its(capture):
    """Its raw map does not stand for it, and where no row has the stage there is no column."""
    plain = dataclasses.replace(capture, gate=None, lr_kernel=None)
    recipe = make_recipe(columns=(*MAPS, *CHANGES), column_titles=("A", "B", "C", "D", "E"))
    figure = recipe_figure(recipe, [capture, plain])
    assert len(panels(figure)) == 6
    lacking = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert lacking == ["no GR", "no LR", "no GR", "no LR and no GR"]
    figure = recipe_figure(recipe, [plain, plain])
    assert len(panels(figure)) == 2 and words(figure).count("A") == 1 and not {"B", "C", "D", "E"} & set(words(figure))
    assert caption_text(recipe, [plain, plain], {"a": "0" * 64}).split(". ")[1] == "Maps: raw (softmax)"
    with pytest.raises(RecipeError, match="no row has a map for rectified: rectified takes GR"):
        recipe_figure(make_recipe(columns=("rectified",)), [plain, plain])


def test_pictures_alone_need_no_query(capture):
    figure = draw(capture, ("photo", "prediction"), [None])
    assert len(panels(figure)) == 2 and not bars(figure)
    assert words(figure) == ["photo", "prediction"]
    assert not any(ax.lines for ax in figure.axes)


# --- layout ----------------------------------------------------------------------------------------------------------


def test_queries_and_keys_alone_are_enough(capture):
    figure = attention_figure(Capture(capture.query, capture.key), [3])
    assert len(panels(figure)) == 1 and {"raw", "softmax"} <= set(words(figure))
    assert all(caption(figure, ax) == "" for ax in panels(figure))


# --- refusals --------------------------------------------------------------------------------------------------------


def test_options_that_do_not_fit_are_refused(capture):
    with pytest.raises(ValueError, match="no query"):
        attention_figure(capture, [])
    with pytest.raises(ValueError, match="off the map"):
        attention_figure(capture, [45])
    with pytest.raises(ValueError, match="clip_percentile is 0"):
        attention_figure(capture, [0], clip_percentile=0)
    with pytest.raises(ValueError, match="oracle gate needs true labels"):
        attention_figure(dataclasses.replace(capture, labels=None), [0], gate="oracle")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pixels": [(3, 4), (40, 0)]}, r"rows\[1\].pixel: pixel \(40, 0\) is off the image, which has 40 rows"),
        ({"pixels": [(3, 99_999)]}, r"rows\[0\].pixel: .* is off the image"),
        ({"columns": COLUMNS, "look": Look(width=2)}, "8 columns on 2 inches leave 0.0. inches a panel"),
        (
            {"column_titles": ("incomprehensibilities" * 2, "", ""), "look": Look(width=3.5)},
            "'incompreh.*' has no room",
        ),
        ({"column_titles": ("\ue000", "", "")}, "neither DejaVu Sans nor a font of this machine can write '.ue000'"),
        ({"column_titles": ("a\nb", "", "")}, r"neither DejaVu Sans nor a font of this machine can write '\\n'"),
    ],
)
def test_a_recipe_that_cannot_be_drawn_gets_one_sentence(capture, change, sentence):
    with pytest.raises(RecipeError, match=sentence):
        draw(capture, **change)


# --- keys that are other cells than the queries, blocks, crops, queries without a place ------------------------------


@pytest.fixture
def pooled(capture):
    """5×9 queries and 2×3 keys that are blocks of a part of the photo."""
    rng = np.random.default_rng(1)
    return dataclasses.replace(
        capture,
        key=rng.normal(size=(4, 2, 3)).astype(np.float32),
        key_size=(2, 3),
        placement="blocks",
        crop=(4, 8, 30, 54),
        class_probs=None,
        gate=None,
        lr_kernel=None,
    )


def test_maps_are_drawn_where_the_keys_lie(pooled):
    figure = attention_figure(pooled, QUERIES, scale="shared")
    raw = attention_rows(pooled, QUERIES).raw
    labels = Grid(SIZE, (2, 3), "blocks", pooled.crop).votes(pooled.labels, 11, 11)
    metrics = query_metrics(raw, labels, QUERIES, ignore_index=11, query_labels=pooled.cell_labels)
    for row, query in enumerate(QUERIES):
        photo, ax = panels(figure)[4 * row], panels(figure)[4 * row + 3]
        assert (ax.images[0].get_array() == raw[row]).all()
        assert ax.images[0].get_extent() == [7.5, 61.5, 33.5, 3.5]
        assert matplotlib.colors.to_hex(ax.get_facecolor()) == UNSEEN
        y, x = pooled.grid.pixel_at(*divmod(query, 9))
        assert ax.lines[0].get_xydata().tolist() == photo.lines[0].get_xydata().tolist() == [[x, y]]
        assert f"{metrics.interclass_noise[row]:.2f}\n" in caption(figure, ax)
    whole = attention_figure(dataclasses.replace(pooled, crop=None), QUERIES)
    ax = panels(whole)[3]
    assert ax.images[0].get_extent() == [-0.5, 71.5, 39.5, -0.5]
    assert matplotlib.colors.to_hex(ax.get_facecolor()) != UNSEEN


def test_a_pixel_s_query_is_the_block_under_it(pooled):
    figure = recipe_figure(make_recipe(("raw",), [(19, 35)], scale=Scale("shared")), [pooled])
    query = pooled.cell_at(19, 35)
    assert (panels(figure)[0].images[0].get_array() == attention_rows(pooled, [query]).raw[0]).all()
    with pytest.raises(RecipeError, match=r"rows\[0\].pixel.*off the part that the model saw"):
        recipe_figure(make_recipe(("raw",), [(0, 0)]), [pooled])


def test_queries_without_a_place_have_their_names_as_titles_and_no_mark(pooled):
    objects = dataclasses.replace(
        pooled,
        query=pooled.query.reshape(4, 1, 45),
        query_names=tuple(f"object {number}" for number in range(45)),
        query_labels=np.where(np.arange(45) == 3, 11, np.arange(45) % 3),
    )
    figure = attention_figure(objects, [7, 3], scale="shared")
    raw = attention_rows(objects, [7, 3]).raw
    shown = panels(figure)
    assert "object 7" in words(figure) and "object 3" in words(figure)
    assert not any(ax.lines for ax in shown)
    for row in range(2):
        assert (shown[4 * row + 3].images[0].get_array() == raw[row]).all() and caption(figure, shown[4 * row]) == ""
    assert caption(figure, shown[1]) == CAMVID.class_names[1] and caption(figure, shown[5]) == "no class"
    assert "query without a label" in caption(figure, shown[7]) or "no label" in caption(figure, shown[7])
    with pytest.raises(ValueError, match=r"the queries are \[45\]; 'image' has the queries 0 … 44"):
        attention_figure(objects, [45])
    with pytest.raises(RecipeError, match="have no place; choose one by its number"):
        recipe_figure(make_recipe(("raw",), [(20, 20)]), [objects])
    among = dataclasses.replace(objects, key=objects.query, key_size=None)
    with pytest.raises(ValueError, match="the keys of 'image' have no place on the image"):
        attention_figure(among, [0])


def test_queries_and_other_keys_alone_are_enough(pooled):
    bare = dataclasses.replace(pooled, image=None, labels=None, prediction=None, label_set=None)
    for ax in panels(attention_figure(bare, [0, 44])):
        assert ax.images[0].get_extent() == [-0.5, 8.5, 4.5, -0.5]
