"""The lesson's exercise as a student sees it: questions, hints, a score and the result file."""

import re
from datetime import UTC, datetime

import streamlit as st

from analysis.capture import Capture
from analysis.charts.lesson import picking_figure
from analysis.exercise import (
    Answer,
    CellFigures,
    ChoiceQuestion,
    NumberQuestion,
    PixelQuestion,
    Question,
    Result,
    Subject,
    cell_figures,
    drawn_questions,
    is_answered,
    result_file,
    score_of,
    seed_of,
)
from pages.parts.app.downloads import offer_file
from pages.parts.app.words import as_sentence, say
from pages.parts.lesson.link import CODE, WITHHOLD
from pages.parts.lesson.picture import choose_scene, needed_model
from pages.parts.subjects.captures import captured
from pages.parts.subjects.models import Model
from pages.parts.subjects.pictures import Picture

STUDENT = "lesson student"
LONGEST_NAME = 100


def exercise() -> None:
    """The student's page."""
    withhold = st.session_state.get(WITHHOLD, False)
    code = st.session_state.get(CODE, "")
    st.markdown(
        "Eight questions, drawn by your name: others have other numbers. Steps and Explorer help; what "
        "you have answered stays while you look there."
    )
    name = st.text_input("Your name", max_chars=LONGEST_NAME, key=STUDENT, persist_state="session").strip()
    found = subject_of_exercise()
    if found is None:
        return
    model, picture, capture, figures = found
    if not name:
        st.info("Type your name to see your questions.", icon=":material/person:")
        return
    seed = seed_of(code, name)
    try:
        asked = drawn_questions(seed, figures)
    except ValueError as error:
        st.error(as_sentence(error))
        return
    answers = {}
    for number, question in enumerate(asked, start=1):
        with st.container(border=True, key=f"exercise question {number}"):
            answers[question.name] = _ask(number, question, f"exercise {seed} {question.name}", capture, withhold)
    _say_score(asked, answers, withhold)
    hints = [question.name for question in asked if st.session_state.get(f"exercise {seed} {question.name} hint")]
    offer_file(
        "Result file",
        f"result-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-') or 'lesson'}.json",
        lambda: result_file(
            Result(
                name=name,
                code=code,
                seed=seed,
                saved=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                subject=subject_words(model, picture, capture),
                answers=answers,
                hints=hints,
                withheld=withhold,
                score=None if withhold else score_of(asked, answers),
            )
        ),
        key="result file",
        help="For your teacher. Nothing is kept on the server: save it before you close this page.",
    )


def subject_of_exercise() -> tuple[Model, Picture, Capture, CellFigures] | None:
    """The model, the picture and its figures; None, and words, where there are none."""
    model = needed_model()
    picture = choose_scene(model)
    try:
        capture, _ = captured(model, picture)
        compute = _figures_for_one if model.private or picture.private else _figures_for_all
        return model, picture, capture, compute(model.key, picture.content_hash(), capture)
    except ValueError as error:
        st.error(f"{as_sentence(error)} Choose another model or street.")
        return None


def subject_words(model: Model, picture: Picture, capture: Capture) -> Subject:
    """What the questions about pixels are asked of, as result files name it."""
    return Subject(model.name, model.sha256, picture.name, picture.content_hash())


def _figures(model_key: str, picture_key: str, _capture: Capture) -> CellFigures:
    return cell_figures(_capture)


_figures_for_all = st.cache_data(_figures, max_entries=16, show_spinner="Measuring the picture …")
_figures_for_one = st.cache_data(_figures, max_entries=2, show_spinner="Measuring the picture …", scope="session")


# --- one question ----------------------------------------------------------------------------------------------------


def _ask(number: int, question: Question, key: str, capture: Capture, withhold: bool) -> Answer:
    """One question, its field, its hint and what there is to say about the answer."""
    of_class = f" · {_untranslated(question.class_name)}" if isinstance(question, PixelQuestion) else ""
    say(f"**{number}{of_class}** · {question.words}", f"{key} words")
    answer: Answer
    match question:
        case NumberQuestion():
            answer = st.number_input(
                "Your answer", value=None, step=0.01, format="%.4f", key=key, persist_state="session", width=220
            )
        case ChoiceQuestion():
            answer = st.radio("Your answer", question.choices, index=None, key=key, persist_state="session")
        case PixelQuestion():
            answer = _ask_pixel(question, key, capture)
        case _:
            raise TypeError(f"{type(question).__name__} is no kind of question")
    if is_answered(answer):
        verdict = "Noted." if withhold else "**Right.**" if question.is_right(answer) else "Not yet: try again."
        say(verdict, f"{key} verdict")
    with st.container(horizontal=True, vertical_alignment="center"):
        hinted = st.toggle("Hint", key=f"{key} shown", persist_state="session", on_change=_note_hint, args=(key,))
        st.caption(f"Step {question.step} of the lesson shows it.")
    if hinted:
        say(question.hint, f"{key} hint words")
    return answer


def _note_hint(key: str) -> None:
    st.session_state[f"{key} hint"] = True


def _ask_pixel(question: PixelQuestion, key: str, capture: Capture) -> list[int] | None:
    """Two fields for a pixel's row and column, and the photo, on which a click fills them."""
    height, width = capture.image_size
    with st.container(horizontal=True):
        y, x = (
            st.number_input(
                words, 0, side - 1, value=None, step=1, key=f"{key} {axis}", persist_state="session", width=220
            )
            for axis, words, side in (("y", "row y, from the top", height), ("x", "column x, from the left", width))
        )
    answer = None if y is None or x is None else [int(y), int(x)]

    def pick() -> None:
        points = st.session_state[f"{key} photo"].selection.points
        if points:
            st.session_state[f"{key} y"], st.session_state[f"{key} x"] = round(points[0]["y"]), round(points[0]["x"])

    st.plotly_chart(
        picking_figure(capture.image, question.figures.grid, None if answer is None else (answer[0], answer[1])),
        key=f"{key} photo",
        on_select=pick,
        selection_mode="points",
        config={"displayModeBar": False},
        alt="The photo, with its pixels counted at the sides.",
    )
    return answer


def _untranslated(class_name: str) -> str:
    letters = re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(class_name.split()))
    return f'<span translate="no">{letters}</span>'


def _say_score(asked: tuple[Question, ...], answers: dict[str, Answer], withhold: bool) -> None:
    count = sum(map(is_answered, answers.values()))
    if withhold:
        say(f"**{count} of {len(asked)} questions are answered.** Your teacher has the solutions.", "exercise score")
    else:
        right = score_of(asked, answers)
        say(f"**{right} of {len(asked)} right**, {count} answered.", "exercise score")
