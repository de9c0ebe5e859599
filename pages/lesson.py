"""The Lesson: a guided tour for a class, one screen a step; its exercise; and the teacher's page.

What the reader has set survives steps and pages, and is in the link.
"""

from collections.abc import Callable
from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts.app.entry import require_app
from pages.parts.app.links import opened_link, say_ignored, write_link
from pages.parts.lesson.basics import noise, softmax
from pages.parts.lesson.exercise import exercise
from pages.parts.lesson.link import EXERCISE, STEP, TEACHER, TOUR, VIEW, WITHHOLD, follow, view_parameters
from pages.parts.lesson.method import cost, rectifying, retaining
from pages.parts.lesson.model import explanation, real_model, worth
from pages.parts.lesson.paper import fit_for_paper
from pages.parts.lesson.picture import open_lesson_file
from pages.parts.lesson.teacher import teacher


class Step(NamedTuple):
    """A step of the tour, and its minutes in a class of one hour."""

    title: str
    show: Callable[[], None]
    minutes: int


STEPS = (
    Step("Softmax attention by hand", softmax, 7),
    Step("Two kinds of noise", noise, 7),
    Step("What GR does", rectifying, 7),
    Step("How LR fills a hollow", retaining, 7),
    Step("What it costs", cost, 3),
    Step("The real model", real_model, 9),
    Step("Is the attention used?", worth, 4),
    Step("Attention is not an explanation", explanation, 4),
)
EXERCISE_MINUTES = 12
PAGE = "lesson"
VIEWS = {TOUR: "Tour", EXERCISE: "Exercise", TEACHER: "Teacher"}


def go_to(step: int) -> None:
    """Go to a step, by its number from 0."""
    st.session_state[STEP] = step


def title(step: int) -> str:
    """The heading of a step."""
    return f"{step + 1} · {STEPS[step].title}"


def timetable() -> list[tuple[str, str]]:
    """A class of one hour: from which minute to which, and what."""
    rows, start = [], 0
    for name, minutes in (
        *((title(step), entry.minutes) for step, entry in enumerate(STEPS)),
        ("Exercise", EXERCISE_MINUTES),
    ):
        rows.append((f"{start} – {start + minutes}", name))
        start += minutes
    return rows


def follow_link(notices: DeltaGenerator) -> None:
    """Show what an opened address asks for."""
    parameters = opened_link()
    if parameters is None:
        return
    say_ignored(notices, follow(parameters))
    write_link(view_parameters())  # it is followed once, though the page may stop or run again before its end


def show_page() -> None:
    """The page: the step that is chosen, the exercise or the teacher's page."""
    fit_for_paper()
    head, notices = st.container(), st.container()
    follow_link(notices)
    st.session_state.setdefault(VIEW, TOUR)
    with st.sidebar:
        hidden = {TEACHER} if st.session_state.get(WITHHOLD) and st.session_state[VIEW] != TEACHER else set()
        view = st.segmented_control(
            "View",
            [name for name in VIEWS if name not in hidden],
            required=True,
            wrap=True,
            format_func=VIEWS.get,
            key=VIEW,
            persist_state="session",
        )
    if view == TOUR:
        show_tour(head)
    else:
        head.title(VIEWS[view])
        {EXERCISE: exercise, TEACHER: teacher}[view]()
    with st.sidebar, st.expander("Lesson file"):
        open_lesson_file()
    write_link(view_parameters())


def show_tour(head: DeltaGenerator) -> None:
    """The step that is chosen, with the way to the others."""
    with st.sidebar:
        step = st.radio(
            "Contents",
            range(len(STEPS)),
            format_func=title,
            key=STEP,
            persist_state="session",
        )
    head.title(title(step))
    with st.container(horizontal=True, vertical_alignment="center", key="lesson walk"):
        st.button(
            "Back", key="back", icon=":material/arrow_back:", disabled=step == 0, on_click=go_to, args=(step - 1,)
        )
        st.progress((step + 1) / len(STEPS))
        st.button(
            "Next",
            key="next",
            type="primary",
            icon=":material/arrow_forward:",
            disabled=step == len(STEPS) - 1,
            on_click=go_to,
            args=(step + 1,),
        )
    with st.container(key="lesson hour"), st.expander("A class of one hour", icon=":material/schedule:"):
        rows = "\n".join(f"| {minutes} | {name} |" for minutes, name in timetable())
        st.markdown(f"| minutes | step |\n|---|---|\n{rows}")
    STEPS[step].show()


require_app(PAGE)
show_page()
