"""Tables for a paper as LaTeX (booktabs, siunitx) and as Markdown, in so many digits."""

import re
from collections.abc import Iterable, Sequence

from analysis.report.paper import Figure, PaperTable, Row

MOST_DIGITS = 6
# Rows, each with its intervals beneath, of a table that still fits on a page; longer ones break over pages.
MOST_FLOATING_ROWS = 25
PREAMBLE = r"""% \usepackage{booktabs, siunitx} % and longtable for tables over several pages
% Tables fit a text width of 345 pt; in two columns write table* for the wide ones.
% Names beyond Latin letters need lualatex or xelatex, and a font that has them.
"""
LATEX_CHARACTERS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_\allowbreak{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}",
    "-": "-{}",  # two in a row are no dash
    "[": "{[}",  # which \\ takes for an option
    "*": "{*}",
    "−": "$-$",
    "×": r"$\times$",
    "–": "--",
    "…": r"\ldots{}",
    "τ": r"$\tau$",
}
MARKDOWN_CHARACTERS = re.compile(r"([\\`*_{}\[\]<>|#~&$])")
NOTHING = "–"
SIZE = r"\footnotesize\setlength{\tabcolsep}{4pt}"


def latex(tables: Iterable[PaperTable], digits: int = 3) -> str:
    """The tables as one file to \\input; compiles with pdflatex, xelatex and lualatex.

    digits: after the point, 1 … MOST_DIGITS. Raises ValueError for others.
    """
    _require(digits)
    return PREAMBLE + "\n".join(_latex_table(table, digits) for table in tables)


def markdown(tables: Iterable[PaperTable], digits: int = 3) -> str:
    """The tables in Markdown, each under its caption. digits: as in `latex`."""
    _require(digits)
    return "\n".join(_markdown_table(table, digits) for table in tables)


def _require(digits: int) -> None:
    if not 1 <= digits <= MOST_DIGITS:
        raise ValueError(f"{digits} digits; give 1 to {MOST_DIGITS}")


def _cells(rows: Iterable[Row], column: int) -> list[Figure | str]:
    return [row.cells[column] for row in rows]


def _in_one_line(text: str) -> str:
    """A text without breaks and characters that cannot be printed."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _written(number: float, digits: int) -> str:
    """A number in so many digits; what rounds to zero has no sign."""
    text = f"{number:.{digits}f}"
    return text if text.strip("-0.") else text.removeprefix("-")


# --- LaTeX -----------------------------------------------------------------------------------------------------------


def latex_text(text: str) -> str:
    """Text whose special characters LaTeX prints as they are; in one line."""
    written = "".join(LATEX_CHARACTERS.get(character, character) for character in _in_one_line(text))
    return written.replace(r" \%", r"~\%")


def _latex_table(table: PaperTable, digits: int) -> str:
    rows = [row for block in table.blocks for row in block]
    preamble = "l" * len(table.names) + "".join(
        _column(_cells(rows, column), digits) for column in range(len(table.columns))
    )
    heads = [latex_text(_capital(name)) for name in table.names]
    heads += [f"{{{latex_text(_capital(name))}}}" for name in table.columns]
    head = "\\toprule\n" + " & ".join(heads) + " \\\\\n\\midrule\n"
    body = "\\midrule\n".join("".join(_latex_row(row, digits) for row in block) for block in table.blocks)
    caption = rf"\caption{{{latex_text(table.caption)}}}\label{{tab:{table.label}}}"
    if len(rows) > MOST_FLOATING_ROWS:
        return (
            f"\\begingroup{SIZE}\n\\begin{{longtable}}{{{preamble}}}\n{caption}\\\\\n{head}\\endfirsthead\n{head}"
            f"\\endhead\n\\midrule\\multicolumn{{{len(heads)}}}{{r}}{{continued on the next page}}\\\\\n\\endfoot\n"
            f"\\bottomrule\n\\endlastfoot\n{body}\\end{{longtable}}\n\\endgroup\n"
        )
    return (
        f"\\begin{{table}}[tbp]\n\\centering{SIZE}\n{caption}\n\\begin{{tabular}}{{{preamble}}}\n{head}{body}"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def _capital(name: str) -> str:
    return name if len(name) == 1 else name[:1].upper() + name[1:]


def _column(cells: Sequence[Figure | str], digits: int) -> str:
    """siunitx's column for the numbers."""
    numbers = [_written(cell.mean, digits) for cell in cells if isinstance(cell, Figure) and cell.mean is not None]
    sign = "-" if any(number.startswith("-") for number in numbers) else ""
    whole = max((len(number.lstrip("-").partition(".")[0]) for number in numbers), default=1)
    return f"S[table-format={sign}{whole}.{digits}]"


def _latex_row(row: Row, digits: int) -> str:
    """The numbers, and beneath them their intervals; no page breaks between the two."""
    numbers = [*map(latex_text, row.names), *(_latex_number(cell, digits) for cell in row.cells)]
    intervals = [_latex_interval(cell, digits) for cell in row.cells]
    if not any(intervals):
        return " & ".join(numbers) + " \\\\\n"
    return " & ".join(numbers) + " \\\\*\n" + " & ".join([""] * len(row.names) + intervals) + " \\\\\n"


def _latex_number(cell: Figure | str, digits: int) -> str:
    if isinstance(cell, Figure):
        return "{--}" if cell.mean is None else _written(cell.mean, digits)
    return f"{{{latex_text(cell)}}}"


def _latex_interval(cell: Figure | str, digits: int) -> str:
    if not isinstance(cell, Figure) or cell.low is None or cell.high is None:
        return ""
    low, high = (rf"\num{{{_written(limit, digits)}}}" for limit in (cell.low, cell.high))
    return rf"{{\scriptsize[{low}, {high}]}}"


# --- Markdown --------------------------------------------------------------------------------------------------------


def markdown_text(text: str) -> str:
    """Text whose special characters Markdown shows as they are; in one line."""
    return MARKDOWN_CHARACTERS.sub(r"\\\1", _in_one_line(text))


def _markdown_table(table: PaperTable, digits: int) -> str:
    header = [markdown_text(name) for name in (*table.names, *table.columns)]
    lines = [_line(header), _line(["---"] * len(table.names) + ["---:"] * len(table.columns))]
    for row in (row for block in table.blocks for row in block):
        lines.append(_line([*map(markdown_text, row.names), *(_markdown_cell(cell, digits) for cell in row.cells)]))
    return f"**{markdown_text(table.caption)}**\n\n" + "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Figure | str, digits: int) -> str:
    if not isinstance(cell, Figure):
        return markdown_text(cell)
    if cell.mean is None:
        return NOTHING
    mean = _written(cell.mean, digits)
    if cell.low is None or cell.high is None:
        return mean
    return f"{mean} ({_written(cell.low, digits)} … {_written(cell.high, digits)})"
