"""The session's entries that several modules share: each has one reader and one writer, here.

An entry that one module alone knows stays with it. What one page hands to another is here, too: the two pages' parts
agree on its type, of which nothing is known on this floor.
"""

from collections.abc import Mapping
from typing import Any

import streamlit as st

# --- visits ----------------------------------------------------------------------------------------------------------


def enter(page: str) -> None:
    """Note the page that the session is on: coming from another begins a new visit."""
    if st.session_state.get("page") != page:
        st.session_state["page"] = page
        visit(anew=True)


def visit(*, anew: bool = False) -> int:
    """The number of this visit to a page: it changes when another page comes in between, and with `anew`."""
    st.session_state["visits"] = st.session_state.get("visits", 0) + anew
    return st.session_state["visits"]


def give_way() -> None:
    """Let a click end a run that is outdated: reading the session's state is where Streamlit stops it."""
    st.session_state.get("page")


# --- the lens --------------------------------------------------------------------------------------------------------

LENS_ENTRIES = {
    "pins": "lens pins",
    "active": "lens active",
    "choices": "lens choices",
    "look": "lens look",
    "maps": "lens maps",
}


def lens_report(name: str) -> Any:
    """The lens's pins, active pins, choices, look or maps (LENS_ENTRIES) as last reported; None before that.

    Its own state is lost on a change of page, this is not. It comes from outside: `analysis.lens` says what is known.
    """
    return st.session_state.get(LENS_ENTRIES[name])


def keep_lens_report(name: str, value: Mapping) -> None:
    """Make `value` the lens's pins, active pins, choices, look or maps (LENS_ENTRIES)."""
    st.session_state[LENS_ENTRIES[name]] = value


def lens_key() -> str:
    """The key of the lens in this visit: a component of its own, which has to be told all of this anew."""
    return f"lens {visit()}"


# --- from page to page -----------------------------------------------------------------------------------------------


def ask_for_view(view: object) -> None:
    """Have the Explorer show a view (`subjects.captures.PinnedView`) when it is opened next."""
    st.session_state["explorer link"] = view


def view_asked_for() -> Any:
    """The view that was asked for since the last call; None for none."""
    return st.session_state.pop("explorer link", None)


def keep_figure(figure: object) -> None:
    """Called by the Explorer: what it shows now (a `figures.from_pins.PinnedFigure` or None), for the Figures page."""
    st.session_state["explorer figure"] = figure


def kept_figure() -> Any:
    """What `keep_figure` has kept last."""
    return st.session_state.get("explorer figure")


def ask_for_figure() -> None:
    """Have the Figures page show the Explorer's pins when it is opened next."""
    st.session_state["explorer figure wanted"] = True


def is_figure_asked_for() -> bool:
    """Whether it was asked for since the last call."""
    return st.session_state.pop("explorer figure wanted", False)
