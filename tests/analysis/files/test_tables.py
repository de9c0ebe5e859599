import csv
import io

import pandas as pd

from analysis.files.tables import csv_text


def test_numbers_keep_all_their_digits_and_nothing_is_empty():
    text = csv_text(("a", "b"), [(0.1 + 0.2, None), (-1e-300, 'x, "y"\nz')])
    assert text.startswith("a,b\n0.30000000000000004,\n-1e-300,")
    assert list(csv.reader(io.StringIO(text)))[2] == ["-1e-300", 'x, "y"\nz']


def test_no_text_is_a_formula():
    starts = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "－1")
    text = csv_text(("=name",), [(start,) for start in starts])
    header, *rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    assert header == ["'=name"] and [row[0] for row in rows] == [f"'{start}" for start in starts]
    assert csv_text(("a",), [(-1,)]) == "a\n-1\n"  # numbers are none


def test_no_line_within_a_text_begins_a_row():
    texts = ["a\r=1", "a\n=1", "a\r\n=1", '"\r', "a,b"]
    text = csv_text(("name", "n"), [(name, 1) for name in texts])
    assert [row[0] for row in csv.reader(io.StringIO(text, newline=""))] == ["name", *texts]
    assert pd.read_csv(io.BytesIO(text.encode()), lineterminator="\n").shape == (5, 2)


def test_a_mark_says_to_spreadsheets_that_letters_are_utf_8_and_readers_leave_it_out(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(csv_text(("image", "class"), [("straße.png", "道路")]), encoding="utf-8")
    assert file.read_bytes().startswith(b"\xef\xbb\xbfimage,class\n")
    assert pd.read_csv(file).to_dict("list") == {"image": ["straße.png"], "class": ["道路"]}
    with file.open(encoding="utf-8-sig", newline="") as opened:
        assert list(csv.DictReader(opened)) == [{"image": "straße.png", "class": "道路"}]
    assert csv_text(("image", "class"), [("a.png", "road")]) == "image,class\na.png,road\n"
