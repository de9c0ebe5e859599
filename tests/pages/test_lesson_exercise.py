"""The Lesson's exercise and the teacher's page, without a browser."""

import json

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analysis.exercise import LessonFile, lesson_file, own_picture
from dnl.classes import CAMVID
from dnl.datasets import Streets
from pages.parts.lesson import exercise
from tests.pages.small import app_on, read, save_network

ADDRESS = {"exercise": "1", "class": "7b"}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    save_network(folder / "small.safetensors", calm=True)
    return folder


def opened(zoo, monkeypatch, **parameters: str) -> AppTest:
    app = app_on(zoo, monkeypatch).switch_page("pages/lesson.py")
    for name, value in parameters.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception and not app.error and not app.warning
    return app


def words(app: AppTest) -> str:
    return read("\n".join(text.value for text in app.markdown))


def test_answers_are_judged_and_another_name_has_other_questions(zoo, monkeypatch):
    app = opened(zoo, monkeypatch, **ADDRESS)
    assert "Type your name" in app.info[0].value and not app.number_input
    app.text_input(key=exercise.STUDENT).set_value("Ada").run()
    first = [text.value for text in app.markdown]
    assert len(app.number_input) == 8 and len(app.radio) == 2
    chosen = app.radio[0]
    verdicts = []
    for option in chosen.options:
        app.radio[0].set_value(option).run()
        verdicts.append("**Right.**" in words(app))
    assert sorted(verdicts) == [False, False, True]
    assert "answered" in words(app)
    app.toggle[0].set_value(True).run()
    assert "e to the power" in words(app)
    app.text_input(key=exercise.STUDENT).set_value("Grace").run()
    assert [text.value for text in app.markdown][:12] != first[:12] and app.radio[0].value is None
    app.text_input(key=exercise.STUDENT).set_value("Ada").run()
    assert app.radio[0].value == chosen.options[-1]


def test_withheld_answers_are_only_noted(zoo, monkeypatch):
    app = opened(zoo, monkeypatch, withhold="1", **ADDRESS)
    app.text_input(key=exercise.STUDENT).set_value("Ada").run()
    app.radio[0].set_value(app.radio[0].options[0]).run()
    said = words(app)
    assert "Noted." in said and "Right" not in said and "try again" not in said
    assert '**<span translate="no">1</span> of' in said.replace("\\", "")
    assert "teacher" not in str(app.sidebar.button_group[0].options).lower()


def test_the_teacher_s_page_gives_the_class_s_link(zoo, monkeypatch):
    app = opened(zoo, monkeypatch, teacher="1", astray="0.9")
    app.text_input(key="lesson class code").set_value("9c-physics").run()
    assert all(part in app.code[0].value for part in ("exercise=1", "class=9c-physics", "astray=0.9"))
    app.text_input(key="lesson class code").set_value("9 c").run()
    assert "class code" in app.error[0].value and not app.code


def test_a_lesson_file_brings_its_picture_and_choices(zoo, monkeypatch):
    street = Streets("gallery")[0]
    picture = own_picture("our street", street.image[:200, :320], street.labels[:200, :320].astype(np.int64), CAMVID)
    app = opened(zoo, monkeypatch, step="1")
    content = lesson_file(LessonFile({"step": "6", "model-gate": "binary"}, picture))
    app.file_uploader(key="lesson file").set_value(("lesson.json", content, "application/json")).run()
    assert not app.exception and not app.error and app.title[0].value == "6 · The real model"
    assert app.selectbox(key="lesson street").value == -1 and "our street" in app.selectbox(key="lesson street").options
    broken = json.dumps({"format": "dnl lesson", "choices": 3}).encode()
    app.file_uploader(key="lesson file").set_value(("broken.json", broken, "application/json")).run()
    assert "broken.json" in read(app.error[0].value) and app.title[0].value == "6 · The real model"
