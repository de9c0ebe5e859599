"""Tables as CSV text, safe to open in a spreadsheet."""

from collections.abc import Iterable, Sequence

# A spreadsheet takes a text that begins like this for a formula, some the full-width signs as well.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
QUOTED = frozenset(',"\r\n')
# Spreadsheets take a file without it to be in the code page of the machine.
BYTE_ORDER_MARK = "\ufeff"


def csv_text(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A table in CSV: numbers with all their digits, None empty, and texts never a formula: an apostrophe leads them.

    A table with letters beyond ASCII begins with a byte order mark, by which a spreadsheet reads it as UTF-8. pandas
    leaves it out by itself; for Python's csv module open the file with the encoding "utf-8-sig", with or without mark.
    rows: as many values each as `header` has.
    """
    text = "".join(f"{','.join(map(_cell, row))}\n" for row in (header, *rows))
    return text if text.isascii() else BYTE_ORDER_MARK + text


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else str(value)
    # A carriage return alone ends a row as well, and the csv module does not quote it.
    return text if QUOTED.isdisjoint(text) else '"{}"'.format(text.replace('"', '""'))
