import csv
import io

from analysis.files.tables import csv_text


def test_numbers_keep_all_their_digits_and_nothing_is_empty():
    text = csv_text(("a", "b"), [(0.1 + 0.2, None), (-1e-300, 'x, "y"\nz')])
    assert text.startswith("a,b\n0.30000000000000004,\n-1e-300,")
    assert list(csv.reader(io.StringIO(text)))[2] == ["-1e-300", 'x, "y"\nz']


def test_no_text_is_a_formula():
    starts = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1")
    text = csv_text(("=name",), [(start,) for start in starts])
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header == ["'=name"] and [row[0] for row in rows] == [f"'{start}" for start in starts]
    assert csv_text(("a",), [(-1,)]) == "a\n-1\n"  # numbers are none
