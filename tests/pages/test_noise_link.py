"""The Noise report's address: written by the page, and restored in a fresh browser."""

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.small import address, app_on, save_network

PAGE = "pages/noise_report.py"
CHOSEN = {
    "models": "one,two%2C%20with%20a%20comma",
    "detail": "two%2C%20with%20a%20comma",
    "image": "street-3",
    "labels": "prediction",
    "gate": "binary",
    "retention": "box",
    "stages": "raw,box",
    "class-metric": "hollow_fraction",
    "leakage-stage": "rectified",
    "map-stage": "retained",
    "map-metric": "kept_mass",
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    save_network(folder / "one.safetensors", calm=True)
    save_network(folder / "two, with a comma.safetensors", "nl+gr", calm=True, seed=1)
    return folder


def opened(zoo, monkeypatch, **parameters: str) -> AppTest:
    """The page in a fresh browser, opened by a link."""
    app = app_on(zoo, monkeypatch, 600).switch_page(PAGE)
    for name, value in parameters.items():
        app.query_params[name.replace("_", "-")] = value
    app.run()
    assert not app.exception
    return app


def test_a_link_restores_the_view_and_is_written_again(zoo, monkeypatch):
    app = opened(zoo, monkeypatch, **CHOSEN)
    assert not app.warning or all("prediction" in warning.value for warning in app.warning)
    assert app.multiselect(key="noise models").value == ["one", "two, with a comma"]
    assert app.selectbox(key="scene").value == 2
    assert app.segmented_control(key="noise labels").value == "prediction"
    assert (app.selectbox(key="noise gate").value, app.selectbox(key="noise retention").value) == ("binary", "box")
    assert app.pills(key="noise stages").value == ["raw", "box"]
    assert app.segmented_control(key="noise detail").value == "two, with a comma"
    assert app.selectbox(key="noise map metric").value == "kept_mass"
    work = app.session_state["noise work"]
    assert work.job.choices == {"gate": "binary", "retention": "box"} and work.job.labels == "prediction"
    assert address(app) == CHOSEN


def test_the_checkpoint_below_and_no_stage_at_all_are_in_the_link(zoo, monkeypatch):
    app = opened(zoo, monkeypatch, models="one,two%2C%20with%20a%20comma", image="street-1")
    app.segmented_control(key="noise detail").set_value("two, with a comma").run()
    app.pills(key="noise stages").set_value([]).run()
    link = address(app)
    assert (link["detail"], link["stages"]) == ("two%2C%20with%20a%20comma", "none")
    again = opened(zoo, monkeypatch, **link)
    assert again.segmented_control(key="noise detail").value == "two, with a comma"
    assert again.pills(key="noise stages").value == [] and address(again) == link
    again.multiselect(key="noise models").set_value(["one"]).run()
    assert "detail" not in address(again)


def test_several_images_are_chosen_and_wait_for_the_button(zoo, monkeypatch):
    app = opened(zoo, monkeypatch, images="street-2,street-5", models="one")
    assert app.multiselect(key="noise scenes").value == [1, 4]
    assert "Press Measure to measure 2 images" in app.info[0].value
    assert address(app) == {"images": "street-2,street-5", "models": "one"}
    app.multiselect(key="noise scenes").set_value([0]).run()
    assert address(app) == {"images": "street-1", "models": "one"}


def test_what_a_link_cannot_have_is_named_and_the_rest_followed(zoo, monkeypatch):
    app = opened(zoo, monkeypatch, image="street-999", gate="oracle", models="nobody", retention="off")
    (warning,) = app.warning
    for name in ("image", "gate", "models"):
        assert f"{name}\\=" in warning.value
    assert app.selectbox(key="noise retention").value == "off" and app.selectbox(key="scene").value == 0
    assert address(app) == {"models": "one", "image": "street-1", "retention": "off"}
