"""Addresses that a stranger wrote: on every page, every parameter with any value gives no exception.

What cannot be used is named, and nothing else is.
"""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.figures.recipe import Checkpoint, Recipe, Row, StreetImage
from dnl.checkpoints import file as checkpoints
from pages.parts.app.links import MOST_CHARACTERS, MOST_NAMED, packed
from pages.parts.explorer import link as explorer_link
from pages.parts.noise_report import link as noise_link
from tests.fuzz import corpus
from tests.fuzz.counts import COUNTS
from tests.fuzz.guard import cases, require_sentence
from tests.pages.small import app_on, read

PARAMETERS = {
    "explorer": ("image", "model", "with", "pins", *explorer_link.CHOICES, *explorer_link.LOOK_NAMES),
    "noise_report": ("image", "images", "models", "detail", "stages", *noise_link.CHOICES),
    "figures": ("recipe",),
    "lesson": ("step", "temperature", "gate", "weights", "image", "query-class"),
    "models": ("card",),
}
# No page has any of these, whatever the parameter; an empty value a browser leaves away.
VALUES = (
    *(name for name in corpus.HOSTILE_NAMES if name.isprintable()),
    "None",
    "null",
    "NaN",
    "-inf",
    "1e400",
    "-0",
    "9" * 400,
    "١",
    "²",
    "street-0",
    "street-99999",
    "street-1,street-1%2C",
    "camvid-val-../../etc/passwd",
    "camvid-val-",
    "/etc/passwd",
    "small\0",
    "1.2.3",
    "-1.-1",
    "_".join(["1.1"] * 3000) + "_",
    "x" * 20_000,
    "%",
    "%ff%fe",
    "{}",
    packed("{}"),
    packed(" " * 10**7),
    packed("[" * 50_000),
)
STRANGERS = ("colour", "__class__", "recipe[]", *(name for name in corpus.HOSTILE_NAMES if name.isprintable()))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    corpus.checkpoint(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "ZOO", folder)
        yield folder


def opened(zoo, page: str, link: dict[str, str]):
    """The page in a fresh session, opened by a link."""
    with pytest.MonkeyPatch.context() as patch:
        app = app_on(zoo, patch).switch_page(f"pages/{page}.py")
        for name, value in link.items():
            app.query_params[name] = value
        app.run()
    COUNTS["links"] += 1
    assert not app.exception, (page, link)
    return app


def ignored(app) -> str:
    """What the page says of the parts of a link that it left out; one notice at most."""
    said = [read(warning.value) for warning in app.warning]
    found = [words for words in said if words.startswith("The link was followed without")]
    assert len(found) <= 1
    COUNTS["links refused"] += bool(found)
    for words in found:
        require_sentence(words)
    return found[0] if found else ""


def shown(text: str) -> str:
    """How a notice begins to name a part of a link: on one line, shortened."""
    return " ".join(text[:MOST_CHARACTERS].split())


@st.composite
def hostile_links(draw) -> tuple[str, dict[str, str]]:
    page = draw(st.sampled_from(list(PARAMETERS)))
    names = st.sampled_from(PARAMETERS[page]) | st.sampled_from(STRANGERS)
    return page, draw(st.dictionaries(names, st.sampled_from(VALUES), min_size=1, max_size=6))


EVERY = [(page, name) for page, names in PARAMETERS.items() for name in names]


@pytest.mark.parametrize(("page", "name"), EVERY)
def test_every_parameter_names_what_it_cannot_use(zoo, page, name):
    value = VALUES[EVERY.index((page, name)) % len(VALUES)]
    said = ignored(opened(zoo, page, {name: value}))
    assert shown(f"{name} (" if name == "recipe" else f"{name}={value}") in said


@given(hostile_links())
@cases(15)
def test_hostile_links(zoo, case):
    page, link = case
    said = ignored(opened(zoo, page, link))
    if len(link) <= MOST_NAMED:
        for name, value in link.items():
            assert shown(f"{name} (" if (page, name) == ("figures", "recipe") else f"{name}={value}") in said
    else:
        assert f" and {len(link) - MOST_NAMED} more, which cannot be used here" in said


RECIPE = json.loads(json.dumps(dataclasses.asdict(Recipe((Checkpoint("small"),), (Row(StreetImage(0), (9, 9)),)))))


@given(corpus.altered(RECIPE))
@cases(8)
def test_recipes_in_links(zoo, recipe):
    app = opened(zoo, "figures", {"recipe": packed(json.dumps(recipe))})
    ignored(app)
    for error in app.error:
        require_sentence(read(error.value))
