"""Recipes of figures, in any form that JSON and what resembles it can have."""

import dataclasses
import json

from hypothesis import example, given

from analysis.figures.recipe import (
    CamVidImage,
    Checkpoint,
    FileImage,
    Recipe,
    RecipeError,
    Row,
    StreetImage,
    recipe_from_json,
    recipe_hash,
    recipe_to_json,
)
from tests.fuzz import corpus
from tests.fuzz.guard import cases, result_or_sentence

WHOLE = Recipe(
    checkpoints=(Checkpoint("camvid-dnl", "0" * 64), Checkpoint("other")),
    rows=(
        Row(StreetImage(0), (10, 20), "a street"),
        Row(FileImage("photo.png", "labels.png"), (3, 4), checkpoint="other"),
        Row(CamVidImage("val", "0001TP"), (0, 0)),
    ),
    column_titles=("a", "b", "c", "d", "e"),
)
TEXT = recipe_to_json(WHOLE).encode()


def tried(text: bytes):
    recipe = result_or_sentence("recipes", lambda: recipe_from_json(text), RecipeError)
    if recipe is not None:
        assert recipe_from_json(recipe_to_json(recipe)) == recipe
        assert recipe_hash(recipe)
    return recipe


def test_the_whole_recipe_is_read():
    assert tried(TEXT) == WHOLE


@example(dataclasses.asdict(WHOLE) | {"format": "x" * 700})
@given(corpus.altered(dataclasses.asdict(WHOLE)))
@cases(120)
def test_values_of_any_kind(values):
    tried(json.dumps(values).encode())


@given(corpus.spoilt([TEXT]) | corpus.JSON_TEXTS)
@cases(60)
def test_spoilt_texts(text):
    tried(text)
