"""Arrows, boxes and texts: where they fall on panels, crops and insets, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from analysis.figures import Annotation, attention_figure, recipe_figure, recipe_from_json, recipe_to_json
from analysis.figures.annotations import COLOURS, MAX_ANNOTATIONS
from analysis.figures.recipe import Attention, Checkpoint, Look, Recipe, RecipeError, Row, StreetImage
from tests.analysis.figures.small import PIXELS, QUERIES, make_capture, make_recipe, panels

ARROW = Annotation("arrow", (10, 30), (4, 50))
BOX = Annotation("box", (30, 60), (20, 40), colour="yellow")
TEXT = Annotation("text", (12, 36), text="A")


@pytest.fixture
def capture():
    return make_capture()


def annotated(*annotations: Annotation, columns=("photo", "labels", "raw"), **row) -> Recipe:
    rows = (Row(StreetImage(0), PIXELS[0], annotations=annotations, **row),)
    return Recipe((Checkpoint("a"),), rows, columns, attention=Attention(gate=None, lr_kernel=None))


def ends(ax) -> list[tuple]:
    """(tail, tip) in (x, y) of the arrows of a panel."""
    return [patch._posA_posB for patch in ax.patches if hasattr(patch, "_posA_posB")]


def boxes(ax) -> list[tuple]:
    shown = [patch for patch in ax.patches if hasattr(patch, "get_xy") and not hasattr(patch, "_posA_posB")]
    return [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in shown]


def texts(ax) -> list[tuple]:
    """Each text with its place (x, y), once: its edge is drawn by itself."""
    return list(dict.fromkeys((text.get_text(), *text.xy) for text in ax.texts))


def test_each_lies_where_its_pixels_are_on_every_panel(capture):
    shown = panels(recipe_figure(annotated(ARROW, BOX, TEXT), [capture]))
    assert len(shown) == 3
    for ax in shown:
        assert ends(ax) == [[(50, 4), (30, 10)]]
        assert boxes(ax) == [(39.5, 19.5, 21, 11)]
        assert texts(ax) == [("A", 36, 12)]
        (frame,) = [patch for patch in ax.patches if hasattr(patch, "get_xy") and not hasattr(patch, "_posA_posB")]
        assert to_hex(frame.get_edgecolor()) == COLOURS["yellow"][0]


def test_the_tip_of_the_drawn_arrow_is_at_its_pixel(capture):
    """Dots that change when the arrow is drawn end within a dot's breadth or two of the tip, on the arrow's side."""
    grey = dataclasses.replace(capture, image=np.full_like(capture.image, 128))

    def dots(*annotations):
        recipe = dataclasses.replace(
            annotated(*annotations, columns=("photo",)), look=Look(width=3, query_marker=False)
        )
        figure = recipe_figure(recipe, [grey])
        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(200)
        canvas.draw()
        box = panels(figure)[0].get_window_extent()
        whole = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
        return whole[round(len(whole) - box.y1) : round(len(whole) - box.y0), round(box.x0) : round(box.x1)]

    tip, tail = (20, 30), (20, 60)
    ys, xs = np.nonzero(np.abs(dots(Annotation("arrow", tip, tail)) - dots()).sum(2))
    across = dots().shape[1] / 72
    assert (tip[1] + 0.5) * across - xs.min() == pytest.approx(0, abs=6)  # the edge around its point
    assert (tail[1] + 0.5) * across - xs.max() == pytest.approx(0, abs=6)
    assert (ys.min() + ys.max() + 1) / 2 == pytest.approx((tip[0] + 0.5) * across, abs=1)


def test_panels_are_chosen(capture):
    photo = dataclasses.replace(BOX, panels="photo")
    maps = dataclasses.replace(TEXT, panels="maps")
    shown = panels(recipe_figure(annotated(photo, maps, ARROW), [capture]))
    assert [len(boxes(ax)) for ax in shown] == [1, 0, 0]
    assert [len(texts(ax)) for ax in shown] == [0, 0, 1]
    assert [len(ends(ax)) for ax in shown] == [1, 1, 1]


def test_a_crop_hides_and_an_inset_shows_what_falls_into_it(capture):
    figure = recipe_figure(annotated(ARROW, BOX, TEXT, crop=(0, 0, 20, 72), inset=(8, 24, 8, 16)), [capture])
    row, inset = panels(figure)[0], panels(figure)[3]
    assert ends(row) == ends(inset) == [[(50, 4), (30, 10)]] and texts(row) == texts(inset) == [("A", 36, 12)]
    (arrow,) = [patch for patch in inset.patches if hasattr(patch, "_posA_posB")]
    assert arrow.get_clip_on() and arrow.get_clip_box() is not None  # its tail lies beyond
    away = recipe_figure(annotated(ARROW, TEXT, inset=(20, 40, 16, 16)), [capture])
    assert not ends(panels(away)[3]) and not texts(panels(away)[3]) and ends(panels(away)[0])


def test_a_text_at_the_border_is_moved_inside_and_one_without_room_refused(capture):
    figure = recipe_figure(annotated(Annotation("text", (0, 71), text="kerb")), [capture])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for ax in panels(figure):
        frame = ax.get_window_extent()
        for text in ax.texts:
            box = text.get_window_extent(canvas.get_renderer())
            assert frame.padded(0.5).contains(*box.min) and frame.padded(0.5).contains(*box.max)
    with pytest.raises(RecipeError, match=r"the annotation 'WWWW.*' has no room on its panel of"):
        recipe_figure(annotated(Annotation("text", (5, 5), text="W" * 30)), [capture])
    with pytest.raises(RecipeError, match=r"nor a font of this machine can write '.ue000'"):
        recipe_figure(annotated(Annotation("text", (5, 5), text="\ue000")), [capture])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"kind": "cross"},
            r"rows\[0\].annotations\[0\].kind is \"cross\"; it must be one of \"arrow\", \"box\", \"text\"",
        ),
        ({"at": [1]}, r"rows\[0\].annotations\[0\].at is \[1\]; it must be \[a whole number, a whole number\]"),
        ({"at": [-1, 5]}, r"rows\[0\].annotations\[0\].at is \[-1, 5\]; it must be \[y, x\], each in 0"),
        ({"to": None}, r"rows\[0\].annotations\[0\] is an arrow without its other end; give `to` as \[y, x\]"),
        ({"to": [10, 30]}, r"rows\[0\].annotations\[0\] is an arrow whose two ends are one pixel; move one"),
        ({"text": "A"}, r"rows\[0\].annotations\[0\] is an arrow and has a text; give the text an annotation"),
        ({"kind": "text", "to": None}, r"rows\[0\].annotations\[0\] is a text without letters; type what it says"),
        ({"kind": "text", "text": "A"}, r"rows\[0\].annotations\[0\] is a text and has another end"),
        ({"kind": "text", "text": "A" * 31}, r"rows\[0\].annotations\[0\].text has 31 characters"),
        ({"panels": "labels"}, r"rows\[0\].annotations\[0\].panels is \"labels\"; it must be one of"),
        ({"colour": "#fff"}, r"rows\[0\].annotations\[0\].colour is \"#fff\"; it must be one of"),
        ({"size": 3}, r"there is no field rows\[0\].annotations\[0\].size; the fields there are kind, at"),
    ],
)
def test_what_cannot_be_drawn_gets_one_sentence(changes, sentence):
    values = json.loads(recipe_to_json(annotated(ARROW)))
    values["rows"][0]["annotations"][0] |= changes
    with pytest.raises(RecipeError, match=sentence):
        recipe_from_json(json.dumps(values))


def test_a_place_off_the_image_and_too_many_are_refused(capture):
    with pytest.raises(RecipeError, match="the arrow at row 10, column 30 does not lie on the image of 40×72 pixels"):
        recipe_figure(annotated(dataclasses.replace(ARROW, to=(4, 72))), [capture])
    with pytest.raises(ValueError, match=r"rows\[0\].annotations has 17 entries; a row has at most 16"):
        annotated(*[TEXT] * (MAX_ANNOTATIONS + 1))


def test_a_recipe_with_annotations_survives_its_text():
    recipe = annotated(ARROW, BOX, TEXT)
    assert recipe_from_json(recipe_to_json(recipe)) == recipe


def test_python_draws_them_on_every_row(capture):
    figure = attention_figure(capture, QUERIES, annotations=[BOX, dataclasses.replace(TEXT, panels="maps")])
    shown = panels(figure)
    assert (
        all(boxes(ax) for ax in shown)
        and [bool(texts(ax)) for ax in shown] == [False] * 3 + [True] * 3 + [False] * 3 + [True] * 3
    )
    assert figure.facts["annotations"][0]["at"] == (30, 60)
    with pytest.raises(ValueError, match=r"annotations\[0\] is a box whose two ends are one pixel"):
        attention_figure(capture, QUERIES, annotations=[dataclasses.replace(BOX, to=BOX.at)])


def test_letters_count_the_panels_that_there_are(capture):
    recipe = make_recipe(("photo", "raw"), look=Look(letters="panels"))
    rows = (dataclasses.replace(recipe.rows[0], columns=("raw",)), recipe.rows[1])
    shown = panels(recipe_figure(dataclasses.replace(recipe, rows=rows), [capture] * 2))
    assert [ax.texts[0].get_text() for ax in shown] == ["(a)", "(b)", "(c)"]
