"""What the steps of the lesson are made of: widgets whose values stay, figures, tiles of numbers and questions."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import streamlit as st

from analysis.words import TILE_DEFINITIONS
from pages.parts.lesson.choices import OPTIONS, SPANS, entry

Option = TypeVar("Option", int, str)
SMALL_WIDTH = 240  # pixels of a small figure, two of which stand beside the text of a step


def plot(figure: object, key: str, alt: str) -> None:
    """A Plotly figure. alt: what it shows, in words."""
    st.plotly_chart(figure, key=key, config={"displayModeBar": False}, alt=alt)


def plot_small(figure: object, key: str, alt: str) -> None:
    """`plot` as wide as its numbers need: in a horizontal container, one below the other where the page is narrow."""
    with st.container(width=SMALL_WIDTH):
        plot(figure, key, alt)


def slider(label: str, name: str) -> float:
    """The slider of a choice of SPANS; its value outlives its step and its page, and is in the lesson's link."""
    known = SPANS[name]
    st.session_state.setdefault(entry(name), known.start)
    return st.slider(label, known.low, known.high, step=known.step, key=entry(name), persist_state="session")


def choice(
    label: str,
    name: str,
    *,
    options: Sequence[Option] | None = None,
    format_func: Callable[[Option], str] | None = None,
    help: str | None = None,
) -> Option:
    """A row of the options of OPTIONS, or of `options` among them, one of which is always chosen.

    The choice outlives its step and its page, and is in the lesson's link.
    """
    options = options or OPTIONS[name].options
    if st.session_state.get(entry(name)) not in options:
        st.session_state[entry(name)] = OPTIONS[name].start
    return st.segmented_control(
        label,
        options,
        required=True,
        wrap=True,
        format_func=format_func,
        help=help,
        key=entry(name),
        persist_state="session",
    )


def question(words: str, answer: str) -> None:
    """A question for the class, with its answer folded away."""
    with st.expander(f"**For the class:** {words}", icon=":material/help:"):
        st.markdown(answer)


def show_figures(
    figures: Mapping[str, float | None], names: Sequence[str], before: Mapping[str, float | None] | None = None
) -> None:
    """Noise figures as tiles; `before` adds what changed. What is undefined shows a dash."""
    with st.container(horizontal=True):
        for name in names:
            words, meaning = TILE_DEFINITIONS[name]
            value = figures[name]
            change = None
            if before is not None and None not in (value, before[name]):
                change = round(value - before[name], 3) or None
            st.metric(
                words,
                "–" if value is None else f"{value:.3f}",
                change,
                delta_color="off" if name in ("kept_mass", "chance") else "inverse",
                help=meaning,
                width=125,
            )


def number(value: float | None) -> str:
    """A figure in a table; a dash where it is undefined."""
    return "–" if value is None else f"{value:.3f}"
