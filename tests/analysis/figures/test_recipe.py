import json
import typing

import pytest

from analysis.figures import recipe as figure_recipe
from analysis.figures.recipe import (
    CamVidImage,
    Checkpoint,
    FileImage,
    Look,
    Recipe,
    RecipeError,
    Row,
    Scale,
    StreetImage,
    recipe_from_json,
    recipe_hash,
    recipe_to_json,
)
from analysis.options import GATES
from dnl.attention import LR_WEIGHTS


@pytest.fixture
def recipe() -> Recipe:
    rows = (
        Row(StreetImage(4), (210, 180), "Ωne"),
        Row(FileImage("a/photo.png", "labels.png", "ab", "cd"), (1, 2), checkpoint="other"),
        Row(CamVidImage("val", "0016E5_00390"), (3, 4)),
    )
    return Recipe(
        (Checkpoint("camvid-dnl", "00ff"), Checkpoint("other")),
        rows,
        ("raw", "photo", "rectified-raw"),
        ("one", "", "three"),
        figure_recipe.Attention(None, 5, "box", 0.5),
        Scale("log", 90.0),
        Look(width=3.5, font_family="STIXGeneral", letters="rows"),
    )


@pytest.fixture
def values(recipe) -> dict:
    return json.loads(recipe_to_json(recipe))


def test_a_recipe_survives_its_text(recipe):
    assert recipe_from_json(recipe_to_json(recipe)) == recipe
    assert recipe_from_json(recipe_to_json(recipe).encode()) == recipe


def test_what_is_left_out_has_its_default():
    text = '{"checkpoints": [{"name": "a"}], "rows": [{"image": {"source": "street", "index": 0}, "pixel": [1, 2]}]}'
    assert recipe_from_json(text) == Recipe((Checkpoint("a"),), (Row(StreetImage(0), (1, 2)),))


def test_whole_numbers_stand_for_floats(values):
    values["look"]["width"] = 7
    assert recipe_from_json(json.dumps(values)).look == Look(width=7.0, font_family="STIXGeneral", letters="rows")


def test_the_hash_is_that_of_the_values(recipe, values):
    shuffled = json.dumps(dict(reversed(values.items())))
    assert recipe_hash(recipe_from_json(shuffled)) == recipe_hash(recipe)
    values["look"]["width"] = 3.6
    assert recipe_hash(recipe_from_json(json.dumps(values))) != recipe_hash(recipe)


def test_the_choices_are_those_of_the_maps():
    assert typing.get_args(figure_recipe.Gate) == ("model", *GATES)
    assert typing.get_args(figure_recipe.Weights) == ("model", *LR_WEIGHTS)


def at(values: dict, *path):
    for step in path:
        values = values[step]
    return values


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            ("rows", 0, "pixel"),
            "here",
            r'rows\[0\].pixel is "here"; it must be \[a whole number, a whole .*null',
        ),
        (("rows", 0, "pixel"), [1], r"rows\[0\].pixel is \[1\]"),
        (("rows", 0, "pixel"), [1, True], r"rows\[0\].pixel is \[1, true\]"),
        (("rows", 0, "pixel"), [1, 2.5], r"rows\[0\].pixel is \[1, 2.5\]"),
        (("rows", 0, "pixel"), [1, -2], r"rows\[0\].pixel is \[1, -2\]; it must be \[y, x\], each in 0 … 99999"),
        (("rows", 0, "pixel"), [1, 10**30], r"rows\[0\].pixel is \[1, 1000"),
        (("rows", 0, "pixel"), None, r"rows\[0\].pixel is null; a row with maps needs"),
        (("rows", 0, "title"), 7, r"rows\[0\].title is 7; it must be a text"),
        (("rows", 0, "title"), "x" * 61, r"rows\[0\].title has 61 characters"),
        (("rows", 0, "checkpoint"), "third", r"rows\[0\].checkpoint is 'third'; choose one of camvid-dnl, other"),
        (("rows", 0, "image", "source"), "web", r'rows\[0\].image.source is "web"; choose one of street, file, camvid'),
        (("rows", 0, "image", "source"), ["street"], r"rows\[0\].image.source is"),
        (("rows", 0, "image", "index"), -1, r"rows\[0\].image.index is -1; it must be at least 0"),
        (("rows", 0, "image", "path"), "x", r"no field rows\[0\].image.path; the fields there are index, source"),
        (("rows", 0, "image"), "street", r'rows\[0\].image is "street"'),
        (("rows", 2, "image", "split"), "../..", r'rows\[2\].image.split is "../.."; it must be one of "train"'),
        (("rows",), [], "rows has 0 entries; a figure has 1 … 12"),
        (("rows",), {}, "rows is {}; it must be a list"),
        (("checkpoints",), [], "checkpoints is empty"),
        (("checkpoints",), [{"name": "a"}, {"name": "a"}], "checkpoints has one name twice"),
        (("columns",), [], "columns is empty"),
        (("columns",), ["raw", "raw"], "columns is empty or has an entry twice"),
        (("columns", 0), "rawest", r'columns\[0\] is "rawest"; it must be one of "photo"'),
        (("column_titles",), ["a"], "column_titles has 1 entries for 3 columns"),
        (("attention", "gate"), "soft", 'attention.gate is "soft"; it must be one of "model", .* or null'),
        (("attention", "lr_kernel"), 4, "attention.lr_kernel is 4; it must be an odd number"),
        (("attention", "temperature"), 0, "attention.temperature is 0.0; it must be in 0.01 … 100"),
        (("scale", "clip_percentile"), 101, "scale.clip_percentile is 101.0; it must be in 50 … 100"),
        (("look", "width"), "wide", 'look.width is "wide"; it must be a number'),
        (("look", "width"), True, "look.width is true; it must be a number"),
        (("look", "width"), 10**400, "look.width is 1000.*…; it must be a number"),
        (("look", "width"), 100, "look.width is 100.0; it must be in 1 … 12 inches"),
        (("look", "fontsize"), 7, "there is no field look.fontsize; the fields there are style, width, "),
        (("look", "query_marker"), 1, "look.query_marker is 1; it must be true or false"),
        (("look",), None, "look is null; it must be an object"),
        (("format",), 2, "the recipe's format is 2; this version reads format 1"),
        (("format",), True, "format is true; it must be one of 1"),
    ],
)
def test_a_bad_value_is_named_in_one_sentence(values, path, value, sentence):
    at(values, *path[:-1])[path[-1]] = value
    with pytest.raises(RecipeError, match=sentence) as caught:
        recipe_from_json(json.dumps(values))
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_named(values):
    del values["rows"][0]["image"]["index"]
    with pytest.raises(RecipeError, match=r"the field rows\[0\].image.index is missing; it must be a whole number"):
        recipe_from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not readable JSON"),
        ("{", "not readable JSON"),
        (b"\xff\xfe{}", "not readable JSON"),
        ("[" * 50_000, "not readable JSON"),
        ("null", "the recipe is null; it must be an object"),
        ("[]", "the recipe is "),
        ('{"rows": NaN}', "holds NaN"),
        ('{"rows": 1, "rows": 2}', 'the field "rows" twice'),
        (" " * 200_000, "at most 100000 characters"),
    ],
)
def test_a_text_that_is_no_recipe_gets_one_sentence(text, sentence):
    with pytest.raises(RecipeError, match=sentence):
        recipe_from_json(text)
