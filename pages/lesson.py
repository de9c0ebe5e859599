"""The Lesson: a guided tour for a class, one screen a step. What the reader has set survives steps and pages."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts.app.entry import require_app
from pages.parts.app.links import opened_link, say_ignored, write_link
from pages.parts.lesson.basics import noise, softmax
from pages.parts.lesson.method import cost, rectifying, retaining
from pages.parts.lesson.model import explanation, real_model, worth

STEPS = (
    ("Softmax attention by hand", softmax),
    ("Two kinds of noise", noise),
    ("What GR does", rectifying),
    ("How LR fills a hollow", retaining),
    ("What it costs", cost),
    ("The real model", real_model),
    ("Is the attention used?", worth),
    ("Attention is not an explanation", explanation),
)
PAGE = "lesson"
KEY = "lesson step"


def go_to(step: int) -> None:
    """Go to a step, by its number from 0."""
    st.session_state[KEY] = step


def title(step: int) -> str:
    """The heading of a step."""
    return f"{step + 1} · {STEPS[step][0]}"


def follow_link(notices: DeltaGenerator) -> None:
    """Go to the step that an opened address names."""
    parameters = opened_link()
    if parameters is None:
        return
    steps = {str(number): number - 1 for number in range(1, len(STEPS) + 1)}
    if parameters.get("step") in steps:
        go_to(steps[parameters["step"]])
    say_ignored(
        notices, [f"{name}={value}" for name, value in parameters.items() if name != "step" or value not in steps]
    )


def show_page() -> None:
    """The page: the step that is chosen."""
    head, notices = st.container(), st.container()
    follow_link(notices)
    with st.sidebar:
        step = st.radio(
            "Contents",
            range(len(STEPS)),
            format_func=title,
            key=KEY,
            persist_state="session",
        )
    head.title(title(step))
    write_link({"step": str(step + 1)})
    with st.container(horizontal=True, vertical_alignment="center"):
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
    STEPS[step][1]()


require_app(PAGE)
show_page()
