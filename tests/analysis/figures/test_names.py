"""Class names in any letters and of any length under the panels, and files of figures made in Python."""

import dataclasses
import io
import json
import re

import pytest
from PIL import Image

from analysis.figures import Look, attention_figure, caption_text
from analysis.printing import fonts, print_settings
from tests.analysis.figures.small import QUERIES, draw, make_capture, make_recipe, panels, words
from tests.analysis.figures.test_printing import texts_of_pdf
from tests.fonts import machine_with, small_font

LETTERS = "道路木車"


@pytest.fixture(scope="module")
def capture():
    return make_capture()


@pytest.fixture
def named(capture):
    """The capture with other names for its classes."""

    def rename(name):
        names = tuple(f"{name}{index}" for index in range(11))
        return dataclasses.replace(capture, label_set=dataclasses.replace(capture.label_set, class_names=names))

    yield rename
    fonts._families_with.cache_clear()


def saved(figure, **options):
    file = io.BytesIO()
    figure.savefig(file, **options)
    return file.getvalue()


def test_without_a_font_classes_are_numbered_and_named_in_caption_warning_and_metadata(named, monkeypatch):
    machine_with(monkeypatch)
    capture = named(LETTERS)
    label = int(capture.cell_labels.flat[QUERIES[0]])
    with pytest.warns(UserWarning, match=f"class {label} {LETTERS}{label}"):
        figure = attention_figure(capture, QUERIES[:1])
    assert f"class {label}" in words(figure) and figure.facts["classes"][f"class {label}"] == f"{LETTERS}{label}"
    columns = ("labels", "raw")
    assert f"class {label} {LETTERS}{label}" in caption_text(make_recipe(columns), [capture] * 2, {"a": "0" * 64})
    assert "Numbers stand" not in caption_text(make_recipe(columns), [named("a")] * 2, {"a": "0" * 64})


@pytest.mark.parametrize("cff", [False, True], ids=["TrueType", "CFF"])
def test_with_a_font_of_the_machine_names_are_written_and_embedded(named, monkeypatch, tmp_path, cff):
    machine_with(monkeypatch, small_font(tmp_path / "small.otf", "Small", LETTERS, cff=cff))
    capture = named(LETTERS)
    label = int(capture.cell_labels.flat[QUERIES[0]])
    figure = attention_figure(capture, QUERIES[:1])
    assert f"{LETTERS}{label}" in words(figure)
    pdf = saved(figure, format="pdf")
    assert b"/Subtype /Type3" not in pdf and pdf.count(b"/FontFile2") == pdf.count(b"/Subtype /CIDFontType2")
    # A PDF's TrueType fonts cannot hold the outlines of CFF: they are drawn.
    assert (b"+Small" in pdf) != cff


def test_long_names_take_more_lines(named):
    name, narrow = "a class of things that have a long name ", Look(width=3.5)
    figure = draw(named(name), ("labels", "prediction", "raw", "rectified"), look=narrow)
    assert len(panels(figure)) == 8
    under = [text for text in words(figure) if text and text in f"{name}0 {name}1 {name}2"]
    assert len(under) > 8
    one_word = draw(named("m" * 60), ("labels", "prediction", "raw", "rectified"), look=narrow)
    assert any(set(text) == {"m"} for text in words(one_word))


def test_a_figure_made_in_python_is_saved_as_the_command_saves(capture, tmp_path):
    with print_settings({"font.family": "STIXGeneral", "pdf.fonttype": 3, "axes.facecolor": "red"}):
        figure = attention_figure(capture, QUERIES, gate="binary")
    pdf = saved(figure, format="pdf")
    assert b"/Subtype /Type3" not in pdf and b"CreationDate" not in pdf and b"STIX" not in pdf
    assert pdf.count(b"/FontFile2") == pdf.count(b"/Subtype /CIDFontType2") > 0
    assert "interclass" in texts_of_pdf(pdf)
    assert saved(figure, format="pdf") == pdf == saved(attention_figure(capture, QUERIES, gate="binary"), format="pdf")
    figure.savefig(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        facts = json.loads(picture.text["Description"])
        assert picture.text["Software"] == f"denoised-nl {facts['version']}"
    assert facts["queries"] == QUERIES and facts["options"]["gate"] == "binary"
    figure.savefig(tmp_path / "a.svg", dpi=100)
    assert re.search(r"<text[^>]*>raw</text>", (tmp_path / "a.svg").read_text(encoding="utf-8"))
    figure.savefig(tmp_path / "a.jpg", dpi=50)  # other formats of matplotlib, without facts
    with Image.open(tmp_path / "a.jpg") as picture:
        assert picture.width == pytest.approx(50 * figure.get_size_inches()[0], abs=1)
