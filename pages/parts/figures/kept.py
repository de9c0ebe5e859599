"""The entries of the session that hold the choices of the Figures page, each named after its field of the recipe."""

from typing import Any

import streamlit as st

# Choices that are no field of the recipe.
OWN_TITLES, ROW_COUNT, WIDTH_WORDS = "own titles", "row count", "width words"


def of_row(index: int, name: str) -> str:
    """A choice of one row, counted from 0."""
    return f"row {index} {name}"


def of_title(column: str) -> str:
    """The choice that is a column's own title."""
    return f"title {column}"


def entry(name: str) -> str:
    """The session's name of a choice."""
    return f"figure {name}"


def get(name: str) -> Any:
    """The value of a choice."""
    return st.session_state[entry(name)]


def put(name: str, value: object) -> None:
    """Make `value` that of a choice; before its widget is there, as every function that changes choices."""
    st.session_state[entry(name)] = value


def keyed(name: str) -> dict:
    """The arguments of a widget that shows and changes a choice, and keeps it on a change of page."""
    return {"key": entry(name), "persist_state": "session"}
