"""The Lesson's address: all of its choices, written by the page and restored in a fresh browser."""

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.small import address, app_on, read, save_network

CHOSEN = {
    "class": "7b",
    "withhold": "1",
    "model": "two",
    "image": "street-3",
    "score-0-1": "-2.5",
    "temperature": "0.3",
    "channels": "16",
    "way": "cell by cell",
    "astray": "0.85",
    "sure-query": "0.35",
    "key-class": "sky",
    "gate": "binary",
    "row-confidence": "0.95",
    "same-score": "-6",
    "kernel": "5",
    "seed": "7",
    "image-size": "512×1024",
    "cost-channels": "128",
    "cell": "12",
    "model-gate": "oracle",
    "model-LR": "off",
    "replacement": "mean",
    "mistaken": "1",
    "query-class": "Sky",
    "weights": "_".join(["0.125", "2.5", "100", "1e-07"] + ["1"] * 14 + ["0"] + ["3"] * 5),
}
HOSTILE = (
    "",
    "None",
    "NaN",
    "inf",
    "1e400",
    "-0.3",
    "9" * 400,
    "١",
    "²",
    "street-0",
    "1_2",
    "0.3 ",
    "{}",
    "x" * 20_000,
)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    for name in ("one", "two"):
        save_network(folder / f"{name}.safetensors", calm=True)
    return folder


def opened(zoo, monkeypatch, parameters: dict[str, str]) -> AppTest:
    app = app_on(zoo, monkeypatch).switch_page("pages/lesson.py")
    for name, value in parameters.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize("step", ["2", "6"])
def test_a_link_restores_every_choice_and_is_written_again(zoo, monkeypatch, step):
    app = opened(zoo, monkeypatch, {"step": step, **CHOSEN})
    assert not app.warning and not app.error
    if step == "2":
        weights = app.session_state["lesson weights now"].to_numpy()
        assert weights.ravel()[:4].tolist() == [0.125, 2.5, 100, 1e-7] and weights[3].tolist() == [0, 3, 3, 3, 3, 3]
    else:
        assert app.selectbox(key="lesson class").value == "Sky" and app.selectbox(key="model").value == "two"
        assert app.selectbox(key="lesson street").value == 2 and app.slider(key="lesson cell").value == 12
    assert address(app) == {"step": step, **CHOSEN}
    app.session_state["lesson step"] = 0
    app.run()
    assert app.slider(key="lesson temperature").value == 0.3 and app.slider(key="lesson score 0 1").value == -2.5
    assert address(app) == {"step": "1", **CHOSEN}


def test_a_fresh_page_has_a_short_link_and_another_link_starts_afresh(zoo, monkeypatch):
    app = opened(zoo, monkeypatch, {"step": "2", "astray": "0.9"})
    app.slider(key="lesson astray").set_value(0.3).run()
    assert address(app) == {"step": "2"}
    app.query_params["step"], app.query_params["unevenness"] = "2", "1"
    app.run()
    assert app.slider(key="lesson unevenness").value == 1 and address(app) == {"step": "2", "unevenness": "1"}


def script() -> None:
    """Every parameter with every hostile value: `refused` holds those that were ignored."""
    import streamlit as st

    from pages.parts.lesson.link import PARAMETERS, follow

    st.session_state["refused"] = {
        name: [value for value in st.session_state["hostile"] if follow({name: value}) == [f"{name}={value}"]]
        for name in PARAMETERS
    }


# What each of these takes of HOSTILE; all others take nothing of it.
TAKEN = {
    "exercise": [""],
    "teacher": [""],
    "withhold": [""],
    "mistaken": [""],
    "class": ["", "None", "NaN", "inf", "1e400", "street-0"],
}


def test_hostile_values_of_every_parameter_are_ignored():
    app = AppTest.from_function(script, default_timeout=60)
    app.session_state["hostile"] = HOSTILE
    app.run()
    assert not app.exception
    refused = app.session_state["refused"]
    assert len(refused) > 35
    for name, values in refused.items():
        taken = [value for value in HOSTILE if value not in values]
        assert set(taken) <= set(TAKEN.get(name, ())), name
    assert all(refused[name] == list(HOSTILE) for name in ("weights", "temperature", "image", "model", "query-class"))


def test_a_link_names_what_it_cannot_use(zoo, monkeypatch):
    app = opened(zoo, monkeypatch, {"step": "3", "gate": "oracle", "row-astray": "0.33", "colour": "red"})
    (warning,) = app.warning
    assert all(part in read(warning.value) for part in ("gate=oracle", "row-astray=0.33", "colour=red"))
    assert address(app) == {"step": "3"}
