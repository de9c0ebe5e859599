"""The teacher's page: a link and a lesson file for the class, and its result files as one table."""

import streamlit as st

from analysis.exercise import CLASS_CODE, QUESTION_NAMES, ClassTable, answer_words, class_csv, class_table
from pages.parts.app.downloads import offer_file
from pages.parts.app.links import show_link
from pages.parts.app.uploaders import kept_uploads
from pages.parts.app.words import as_sentence, literal, literal_rows, said_container, say
from pages.parts.lesson.exercise import subject_of_exercise, subject_words
from pages.parts.lesson.link import CODE, EXERCISE, WITHHOLD, choice_parameters
from pages.parts.lesson.picture import offer_lesson_file

MOST_RESULTS = 500
MARKS = {True: "✓", False: "✗", None: "–"}


def teacher() -> None:
    """The teacher's page."""
    say("Nothing of this page is kept on the server: save the table as CSV.", "teacher head")
    with st.expander("1 · Link for the class", expanded=True):
        _offer_link()
    own_photo = st.expander("2 · Lesson file, for a photo of your own")
    st.markdown("#### 3 · Results")
    found = subject_of_exercise()
    if found is not None:
        with own_photo:
            offer_lesson_file(found[0])
    files = kept_uploads(
        "The class's result files", ["json"], key="lesson results", most=MOST_RESULTS, help="Any number at once."
    )
    if found is None or not files:
        return
    model, picture, capture, figures = found
    try:
        table = class_table(files, figures, subject_words(model, picture, capture))
    except ValueError as error:
        st.error(as_sentence(error))
        return
    for file, reason in table.refused:
        st.error(f"{literal(file)} {literal(reason)}.")
    if table.rows:
        _show(table)


def _offer_link() -> None:
    code = st.text_input(
        "Class code",
        max_chars=40,
        key=CODE,
        persist_state="session",
        help="Letters, digits and hyphens. Another code draws other questions for the same names.",
    )
    st.toggle(
        "Withhold the answers: students see that an answer is noted, not whether it is right",
        key=WITHHOLD,
        persist_state="session",
    )
    if not CLASS_CODE.fullmatch(code):
        st.error("A class code has letters of A … Z, digits and hyphens, and nothing else.")
        return
    show_link({EXERCISE: "1", **choice_parameters()})
    st.caption("It holds every choice of the lesson: model, street, and where the sliders stand.")


def _show(table: ClassTable) -> None:
    st.dataframe(
        [
            {
                "name": row.result.name,
                "score": row.score,
                "of": row.checked,
                **{name: f"{MARKS[row.right[name]]} {answer_words(row, name)}" for name in QUESTION_NAMES},
                "hints": len(row.result.hints),
                "class": row.result.code,
                "saved": row.result.saved,
                "content hash": "fits" if row.fits else "does not fit",
                "remarks": "; ".join(row.remarks),
                "file": row.file,
            }
            for row in table.rows
        ],
        hide_index=True,
        height="content",
    )
    counted = sum(row.counted for row in table.rows)
    words = f"**{counted} of {len(table.rows)} files count**: each name once, the latest, and no altered file."
    say(words, "teacher counted")
    shares = [
        {"question": name, "right": "–" if share is None else f"{share:.0%}"} for name, share in table.shares.items()
    ]
    with said_container(str(shares), "teacher shares"):
        st.table(literal_rows(shares), hide_index=True)
    offer_file("Table as CSV", "class.csv", lambda: class_csv(table), key="class table")
    with st.expander("Who answered what is checked again"):
        st.markdown(
            "Every answer is checked here, by the questions that the name and class code draw; the file's own score is "
            "not believed. The content hash finds accidents and casual edits. How it is made is public: it is no "
            "protection against somebody who makes a file anew."
        )
