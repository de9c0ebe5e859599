"""What the lesson's real model looks at: a built-in street, or the picture of the lesson file that was opened."""

import streamlit as st

from analysis.exercise import LessonFile, OwnPicture, lesson_file, own_picture, read_lesson_file
from analysis.files.photos import pair_notes
from dnl.datasets import Streets
from pages.parts.app.downloads import offer_file
from pages.parts.app.uploaders import LABEL_TYPES, PHOTO_TYPES, kept_upload
from pages.parts.app.words import as_clause, as_sentence, literal
from pages.parts.lesson.choices import OWN_PICTURE, STREET, STREET_TO_START_WITH, entry
from pages.parts.lesson.link import choice_parameters, follow
from pages.parts.subjects.models import Model, choose_model
from pages.parts.subjects.pictures import Picture, picture_at, street_picture
from pages.parts.subjects.places import UploadPlace, street_name

_OWN, _LESSON_FILE, _IGNORED = "lesson own picture", "lesson file", "lesson file ignored"


def needed_model() -> Model:
    """The model chosen in the sidebar; the page ends here, with words, where there is none."""
    notices = st.container()
    with st.sidebar:
        model = choose_model(notices)
    if model is None:
        st.stop()
    return model


def choose_scene(model: Model) -> Picture:
    """A selectbox of the built-in streets, and of the lesson file's picture where one was opened."""
    own: OwnPicture | None = st.session_state.get(_OWN)
    scenes = [*([] if own is None else [OWN_PICTURE]), *range(len(Streets("gallery")))]
    key = entry(STREET)
    if st.session_state.get(key) not in scenes:
        st.session_state[key] = STREET_TO_START_WITH
    scene = st.selectbox(
        "street",
        scenes,
        format_func=lambda scene: own.name if scene == OWN_PICTURE else street_name(scene),
        key=key,
        persist_state="session",
    )
    label_set = model.network.label_set
    if scene != OWN_PICTURE:
        return street_picture(scene, label_set)
    try:
        labels = own.labels_for(label_set)
    except ValueError as error:
        st.error(f"{as_sentence(error)} The photo is shown without labels.")
        labels = None
    else:
        if own.labels is not None and labels is None:
            st.caption("Its labels are of other classes than the model's, and are left out.")
    return Picture(own.image, labels, own.name, private=True)


# --- lesson files ----------------------------------------------------------------------------------------------------


def open_lesson_file() -> None:
    """An uploader of lesson files: the lesson becomes what the file holds."""
    notices = st.container()
    file = st.file_uploader("Open a lesson file", ["json"], key=_LESSON_FILE, on_change=_follow_file)
    error = st.session_state.get(_IGNORED)
    if file is not None and error:
        notices.error(error)


def _follow_file() -> None:
    file = st.session_state[_LESSON_FILE]
    st.session_state[_IGNORED] = None
    if file is None:
        return
    try:
        lesson = read_lesson_file(file.getvalue())
    except ValueError as error:
        st.session_state[_IGNORED] = f"{literal(file.name)} {as_clause(error)}."
        return
    ignored = follow(lesson.choices)
    if ignored:
        named = ", ".join(literal(part[:40]) for part in ignored[:4])
        st.session_state[_IGNORED] = f"The lesson file was followed without {named}, which cannot be used here."
    st.session_state[_OWN] = lesson.picture
    if lesson.picture is not None:
        st.session_state[entry(STREET)] = OWN_PICTURE


def offer_lesson_file(model: Model) -> None:
    """A photo and its labels, of the model's classes, and the lesson file that holds them beside all choices."""
    photo = kept_upload("Photo", PHOTO_TYPES, key="lesson photo", help="It stays in your session.")
    labels = kept_upload("Its labels (optional)", LABEL_TYPES, key="lesson labels", help="Of the model's classes.")
    picture: OwnPicture | None = st.session_state.get(_OWN)
    if photo is not None:
        label_set = model.network.label_set
        try:
            found = picture_at(UploadPlace(photo, labels), label_set)
            picture = own_picture(found.name, found.image, found.labels, label_set)
        except ValueError as error:
            st.error(as_sentence(error))
            return
        for note in () if labels is None else pair_notes(photo[1], labels[1]):
            st.warning(literal(note))
    choices = choice_parameters()
    offer_file(
        "Lesson file", "lesson.json", lambda: lesson_file(LessonFile(choices, picture)), key="download lesson file"
    )
    st.caption(
        "All choices of the lesson and, where there is one, the photo: at most 1024 pixels a side, without what a "
        "camera writes into it. Students open it in the sidebar, under *Lesson file*."
    )
