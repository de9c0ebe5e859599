"""Figures as files: the same bytes each time, exact sizes, text as text."""

import contextlib
import io
import re
import xml.etree.ElementTree as ElementTree
import zlib

import matplotlib
import pytest
import torch
from PIL import Image

from analysis.figures import FORMATS
from tests.analysis.figures.small import IMAGE, VALUES, make, write


def streams_of_pdf(data: bytes) -> list[bytes]:
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.S):
        with contextlib.suppress(zlib.error):
            found.append(zlib.decompress(stream))
    return found


def texts_of_pdf(data: bytes) -> str:
    """All the text of a PDF whose fonts are coded by Unicode, but for characters beyond Latin-1 and ligatures."""
    found = []
    for content in streams_of_pdf(data):
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


FOUR_ROWS = [
    {"image": IMAGE, "pixel": [10, 50], "inset": [0, 32, 24, 32]},
    {"image": IMAGE, "pixel": [10, 50], "attention": {"gate": "binary"}},
    {"image": IMAGE, "pixel": [40, 5], "title": "kerb"},
    {"image": IMAGE, "pixel": [40, 5], "attention": {"gate": "binary"}, "crop": [16, 0, 32, 48]},
]
MARKS = [
    {"kind": "arrow", "at": [10, 50], "to": [20, 40], "colour": "yellow"},
    {"kind": "box", "at": [30, 10], "to": [40, 20], "panels": "photo"},
    {"kind": "text", "at": [8, 44], "text": "Bq"},
]


@pytest.mark.parametrize(("style", "width", "font"), [("ieee", 7.16, "STIXGeneral"), ("springer", 6.85, "DejaVuSans")])
def test_four_rows_two_gates_inset_and_annotations_measured_in_the_pdf(folder, style, width, font):
    """No text is smaller than 8 points, all of it is set in the style's face, and embedded as TrueType."""
    rows = [{**row, "annotations": MARKS if "inset" in row or "crop" in row else []} for row in FOUR_ROWS]
    look = {"style": style, "class_titles": True}
    write(folder, VALUES | {"rows": rows, "columns": ["photo", "labels", "raw", "rectified", "retained"], "look": look})
    pdf = make(folder, "out.pdf")
    assert pdf == make(folder, "out.pdf")
    assert float(re.search(rb"/MediaBox \[ 0 0 (\S+)", pdf)[1]) == pytest.approx(72 * width, abs=1e-3)
    blocks = [block for each in streams_of_pdf(pdf) for block in re.findall(rb"\nBT\n(.*?)\nET", each, re.S)]
    sizes = [float(size) for block in blocks for size in re.findall(rb"/F\d+ (\S+) Tf", block)]
    assert len(sizes) > 50 and set(sizes) == {8.0}
    turned = [block.rpartition(b" Tm")[0].split()[-6:-2] for block in blocks if b" Tm" in block]
    assert all(matrix in ([b"0", b"1", b"-1", b"0"], [b"1", b"0", b"0", b"1"]) for matrix in turned)  # and none scaled
    faces = {name.decode().split("+")[-1] for name in re.findall(rb"/BaseFont /(\S+)", pdf)}
    assert faces and all(face.startswith(font) for face in faces), faces
    fonts = pdf.count(b"/Subtype /Type0")
    assert fonts and pdf.count(b"/Subtype /CIDFontType2") == pdf.count(b"/FontFile2") == fonts
    assert b"/Type3" not in pdf and b"/FontFile3" not in pdf
    written = texts_of_pdf(pdf).split("\n")
    assert written.count("Bq") == 10  # on five panels of the first row and its inset; the crop hides it
    assert "(e) retained" in written if style == "ieee" else {"a", "t"} <= set(written)


def test_no_date_and_no_path_enter_a_file(folder):
    for name in FORMATS:
        data = make(folder, f"out.{name}")
        assert b"CreationDate" not in data and b"dc:date" not in data
        assert str(folder).encode() not in data
