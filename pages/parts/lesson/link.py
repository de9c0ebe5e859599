"""The lesson as the parameters of its address, and back.

step                 1 … 8
exercise, teacher    alone, or 1: the exercise, or the teacher's page, in place of a step
class                a code that the teacher gives out: letters, digits, hyphens. Another code, other questions
withhold             1: students are not told what is right
model, image         a checkpoint's name; street-5. An own photo cannot be in a link, it goes in a lesson file
query-class          the class of the query on the real model
weights              of the row that is typed cell by cell: 24 numbers joined by _
mistaken             1: GR takes two road cells for trees
and every other choice under its name in `choices`, with hyphens. What is as on a fresh page is left out.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from analysis import lesson
from analysis.exercise import CLASS_CODE
from dnl import list_checkpoints
from dnl.checkpoints import CheckpointError
from pages.parts.lesson.choices import (
    CLASS_TO_START_WITH,
    MISTAKEN,
    OPTIONS,
    OWN_PICTURE,
    QUERY_CLASS,
    SPANS,
    STREET,
    STREET_TO_START_WITH,
    WEIGHT_LIMIT,
    WEIGHTS,
    WEIGHTS_OPENED,
    WEIGHTS_SHOWN,
    Options,
    Span,
    entry,
)
from pages.parts.subjects.models import chosen_model, model_named, opened_models, show_model
from pages.parts.subjects.places import StreetPlace, image_place, image_words

STEP, VIEW, CODE, WITHHOLD = "lesson step", "lesson view", "lesson class code", "lesson withhold"
TOUR, EXERCISE, TEACHER = "tour", "exercise", "teacher"
STEPS = 8
NUMBER = re.compile(r"-?\d{1,3}(\.\d{1,17})?(e-\d{1,3})?", re.ASCII)


def view_parameters() -> dict[str, str]:
    """The parameters of what the session shows: only what is not as on a fresh page, and the step or other view."""
    view = st.session_state.get(VIEW, TOUR)
    head = {"step": str(st.session_state.get(STEP, 0) + 1)} if view == TOUR else {view: "1"}
    return head | choice_parameters()


def choice_parameters() -> dict[str, str]:
    """`view_parameters` without the step or view."""
    state = st.session_state
    first = [*list_checkpoints(), *opened_models()][:1]
    chosen = chosen_model()
    parameters = {
        "class": state.get(CODE, "") if CLASS_CODE.fullmatch(state.get(CODE, "")) else "",
        "withhold": "1" if state.get(WITHHOLD) else "",
        "model": chosen if chosen is not None and [chosen] != first else "",
    }
    scene = state.get(entry(STREET), STREET_TO_START_WITH)
    if scene not in (STREET_TO_START_WITH, OWN_PICTURE):
        parameters["image"] = image_words(StreetPlace(scene))
    for name, known in (SPANS | OPTIONS).items():
        value = state.get(entry(name), known.start)
        if value != known.start:
            parameters[_parameter(name)] = f"{value:g}" if isinstance(value, float) else str(value)
    if state.get(entry(MISTAKEN)):
        parameters["mistaken"] = "1"
    if state.get(entry(QUERY_CLASS), CLASS_TO_START_WITH) != CLASS_TO_START_WITH:
        parameters["query-class"] = state[entry(QUERY_CLASS)]
    weights = state.get(entry(WEIGHTS))
    if weights is not None and not weights.equals(default_weights()):
        parameters["weights"] = "_".join(_shortest(value) for value in weights.to_numpy(np.float64).ravel())
    return {name: value for name, value in parameters.items() if value}


def follow(parameters: Mapping[str, str]) -> list[str]:
    """Set the lesson to what a link asks for, before its widgets are there; the rest is as on a fresh page.

    Returns the parts of the link that cannot be used.
    """
    ignored = []
    values: dict[str, Any] = {STEP: 0, VIEW: TOUR, CODE: "", WITHHOLD: False}
    values |= {entry(name): known.start for name, known in (SPANS | OPTIONS).items()}
    values |= {entry(MISTAKEN): False, entry(STREET): STREET_TO_START_WITH, entry(QUERY_CLASS): CLASS_TO_START_WITH}
    values |= {entry(WEIGHTS): default_weights()}
    # A class is known once the model is.
    for name, text in sorted(parameters.items(), key=lambda item: item[0] == "query-class"):
        found = _READERS[name](text) if name in _READERS else None
        if found is None:
            ignored.append(f"{name}={text}")
        values |= found or {}
    for name, value in values.items():
        st.session_state[name] = value
    st.session_state.pop(entry(WEIGHTS_SHOWN), None)
    st.session_state[entry(WEIGHTS_OPENED)] = st.session_state.get(entry(WEIGHTS_OPENED), 0) + 1
    return ignored


def default_weights() -> pd.DataFrame:
    """The weights of the tiny street's cells that are there to be changed, 4×6."""
    return _table(np.where(lesson.LABELS == lesson.ROAD, 2.0, 0.5))


# --- parts -----------------------------------------------------------------------------------------------------------


def _parameter(name: str) -> str:
    return name.replace(" ", "-")


def _shortest(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _table(weights: np.ndarray) -> pd.DataFrame:
    weights = weights.copy()
    weights[lesson.QUERY] = 0
    return pd.DataFrame(weights, columns=[str(column + 1) for column in range(weights.shape[1])])


def _on_step(known: Span, text: str) -> float | None:
    """The number of a text, where it is one that the slider stops at."""
    if not NUMBER.fullmatch(text):
        return None
    steps = (float(text) - known.low) / known.step
    if not (known.low <= float(text) <= known.high and math.isclose(steps, round(steps), abs_tol=1e-6)):
        return None
    return type(known.start)(float(text))


def _span(name: str, known: Span) -> Callable[[str], dict | None]:
    def read(text: str) -> dict | None:
        value = _on_step(known, text)
        return None if value is None else {entry(name): value}

    return read


def _options(name: str, known: Options) -> Callable[[str], dict | None]:
    by_text = {str(option): option for option in known.options}
    return lambda text: {entry(name): by_text[text]} if text in by_text else None


def _step(text: str) -> dict | None:
    return {STEP: int(text) - 1} if text in map(str, range(1, STEPS + 1)) else None


def _view(view: str) -> Callable[[str], dict | None]:
    return lambda text: {VIEW: view} if text in ("", "1") else None


def _switch(name: str) -> Callable[[str], dict | None]:
    return lambda text: {name: True} if text in ("", "1") else None


def _code(text: str) -> dict | None:
    return {CODE: text} if CLASS_CODE.fullmatch(text) else None


def _model(text: str) -> dict | None:
    if text not in list_checkpoints() and text not in opened_models():
        return None
    show_model(text)
    return {}


def _image(text: str) -> dict | None:
    place = image_place(text)
    return {entry(STREET): place.scene} if isinstance(place, StreetPlace) else None


def _query_class(text: str) -> dict | None:
    name = chosen_model() or next(iter([*list_checkpoints(), *opened_models()]), None)
    try:
        known = () if name is None else model_named(name).network.label_set.class_names
    except CheckpointError:
        return None  # the page says what is wrong with it where a step needs it
    return {entry(QUERY_CLASS): text} if text in known else None


def _weights(text: str) -> dict | None:
    numbers = text.split("_")
    if len(numbers) != lesson.LABELS.size or not all(map(NUMBER.fullmatch, numbers)):
        return None
    weights = np.array(numbers, float).reshape(lesson.LABELS.shape)
    if weights.min() < 0 or weights.max() > WEIGHT_LIMIT:
        return None
    return {entry(WEIGHTS): _table(weights)}


_READERS: dict[str, Callable[[str], dict | None]] = {
    "step": _step,
    EXERCISE: _view(EXERCISE),
    TEACHER: _view(TEACHER),
    "class": _code,
    "withhold": _switch(WITHHOLD),
    "model": _model,
    "image": _image,
    "query-class": _query_class,
    "weights": _weights,
    "mistaken": _switch(entry(MISTAKEN)),
    **{_parameter(name): _span(name, known) for name, known in SPANS.items()},
    **{_parameter(name): _options(name, known) for name, known in OPTIONS.items()},
}
PARAMETERS = tuple(_READERS)
