"""Figures as files: the same bytes each time, exact sizes, text as text."""

import io
import re
import xml.etree.ElementTree as ElementTree
import zlib

import matplotlib
import pytest
import torch
from PIL import Image

from analysis.figures import FORMATS
from tests.analysis.figures.small import VALUES, make, write


def texts_of_pdf(data: bytes) -> str:
    """All the text of a PDF whose fonts are coded by Unicode, but for characters beyond Latin-1 and ligatures."""
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.S):
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        for block in re.findall(rb"\nBT\n(.*?)\nET", content, re.S):
            shown = b"".join(re.findall(rb"\(((?:\\.|[^\\)])*)\)", block, re.S))
            plain = re.sub(rb"\\([()\\])", rb"\1", shown)
            found.append("".join(char for char in plain.decode("utf-16-be", "ignore") if char >= " "))
    return "\n".join(found)


def test_the_same_recipe_gives_the_same_bytes_on_any_number_of_threads(folder):
    usual = torch.get_num_threads()
    try:
        made = []
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            made.append({name: make(folder, f"out.{name}") for name in FORMATS})
    finally:
        torch.set_num_threads(usual)
    assert made[0] == made[1] == made[2]


def test_a_users_settings_of_matplotlib_do_not_show(folder):
    plain = make(folder, "out.png")
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "image.cmap": "gray", "lines.linewidth": 9}):
        assert make(folder, "out.png") == plain
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize("width", [3.5, 7.16, 4.123])
def test_sizes_are_exactly_the_columns_width(folder, width):
    write(folder, VALUES | {"columns": ["raw", "retained"], "look": {"width": width}})
    media = re.search(rb"/MediaBox \[ 0 0 (\S+) (\S+) \]", make(folder, "out.pdf"))
    assert float(media[1]) == pytest.approx(72 * width, abs=1e-6)
    svg = ElementTree.fromstring(make(folder, "out.svg"))
    assert float(svg.get("width").removesuffix("pt")) == pytest.approx(72 * width, abs=1e-3)
    for dpi in (300, 600):
        picture = Image.open(io.BytesIO(make(folder, "out.png", "--dpi", str(dpi))))
        assert picture.size == (round(width * dpi), round(float(media[2]) / 72 * dpi))
        assert picture.info["dpi"] == pytest.approx((dpi, dpi), abs=0.01)


def test_fonts_are_embedded_and_text_stays_text(folder):
    pdf = make(folder, "out.pdf")
    fonts = pdf.count(b"/Subtype /Type0")
    assert fonts and pdf.count(b"/Subtype /CIDFontType2") == pdf.count(b"/FontFile2") == fonts
    assert pdf.count(b"/ToUnicode") == fonts
    assert b"/Subtype /Type3" not in pdf
    written = texts_of_pdf(pdf)
    for text in ("(a) photo", "(d) retained", "softmax", "LR 3×3", "one", "chance"):
        assert text in written
    svg = ElementTree.fromstring(make(folder, "out.svg"))
    lines = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"(a) photo", "(d) retained", "(e) retained", "− rectified"} <= {line.replace("\xa0", " ") for line in lines}


def test_no_date_and_no_path_enter_a_file(folder):
    for name in FORMATS:
        data = make(folder, f"out.{name}")
        assert b"CreationDate" not in data and b"dc:date" not in data
        assert str(folder).encode() not in data
