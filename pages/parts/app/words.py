"""Words that several pages use: what the figures mean, and foreign words made safe for Markdown."""

import re
from collections.abc import Mapping, Sequence

from dnl.untrusted import error_line

NO_CHECKPOINT = "There is no checkpoint to show: put a .safetensors file in a folder and name it in $DNL_CHECKPOINTS."


def literal(name: str) -> str:
    """A text as Markdown shall show it letter by letter: names of files and classes may hold anything.

    It stays one line of running text: a break or indentation in it would begin a block of its own.
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(name.split()))


def literal_rows(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """A table's rows, column -> text or number, whose texts and columns `st.table` shall show letter by letter."""
    return [
        {literal(column): literal(value) if isinstance(value, str) else value for column, value in row.items()}
        for row in rows
    ]


def as_sentence(error: Exception) -> str:
    """What an error says, as a sentence for a notice; it may name anything, so it is `literal`."""
    words = error_line(error).rstrip(".") or type(error).__name__
    return literal(f"{words[0].upper()}{words[1:]}.")


def as_clause(error: Exception) -> str:
    """What an error says, to stand within a sentence of a notice; `literal`."""
    return literal(error_line(error).rstrip(".") or type(error).__name__)
