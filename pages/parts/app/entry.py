"""What surrounds every page: its opening by its own address on a fresh server, and the rest after its run."""

import gc
import runpy
import sys
from pathlib import Path

import streamlit as st

from pages.parts.app.session import enter

APP = Path(__file__).parents[3] / "app.py"
_RUNS = "the app runs"


def announce_app() -> None:
    """Called by app.py before it runs a page."""
    st.session_state[_RUNS] = True


def require_app(page: str) -> None:
    """Called first by every page, with its name: without the app around it, run the app, which comes back to this page.

    Until app.py has run once on a server, Streamlit takes the files in pages/ for the app's pages by itself, and runs
    the one whose name stands in the address alone.
    """
    if _RUNS not in st.session_state:
        runpy.run_path(str(APP), run_name="__main__")
        st.stop()
    enter(page)


def settle() -> None:
    """Called by app.py after each run: leaves what has been imported out of garbage collection.

    Streamlit collects all garbage after every run, and all visitors wait while it looks through each object that
    PyTorch, Matplotlib and Plotly consist of, half a second long.
    """
    _leave_out(len(sys.modules))


@st.cache_resource(max_entries=1000, show_spinner=False)
def _leave_out(modules: int) -> None:
    """Once for each number of modules: pages import some only when they need them."""
    gc.collect()
    gc.freeze()
