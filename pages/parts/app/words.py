"""Words that several pages use: what the figures mean, and foreign words made safe for Markdown."""

import hashlib
import re
from collections.abc import Mapping, Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dnl.untrusted import error_line

NO_CHECKPOINT = "There is no checkpoint to show: put a .safetensors file in a folder and name it in $DNL_CHECKPOINTS."


# A number of a sentence, with its sign and unit.
_NUMBER = re.compile(r"(?<![\w.])[+−-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?([ \u00a0]?%)?(?![\w.]*\w)")


def say(words: str, key: str) -> None:
    """Markdown whose words change with what is chosen; key: a name for its place.

    A browser that translates the page puts elements of its own in place of a text, and never shows what is written
    into the text later. So other words are another element, and numbers are left untranslated.
    """
    with said_container(words, key):
        st.markdown(_untranslated_numbers(words), unsafe_allow_html=True)


def said_container(words: str, key: str) -> DeltaGenerator:
    """A container that is another element whenever it says other words."""
    return st.container(key=f"{key} {hashlib.sha256(words.encode()).hexdigest()[:12]}")


def _untranslated_numbers(words: str) -> str:
    """The words with their numbers marked; formulas between dollar signs stay as they are."""
    parts = words.split("$")
    parts[::2] = [_NUMBER.sub(r'<span translate="no">\g<0></span>', part) for part in parts[::2]]
    return "$".join(parts)


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
