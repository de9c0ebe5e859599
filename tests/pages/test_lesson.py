import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from analysis import lesson
from dnl.checkpoints import file as checkpoints
from tests.pages.small import app_on, save_network

STEPS = 8


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    """A folder of one small network with a card, and of one without figures."""
    folder = tmp_path_factory.mktemp("zoo")
    scores = {"miou": 0.5, "miou_gamma_0": 0.25, "miou_uniform": 0.375, "miou_mean": 0.4375}
    for name, metrics in (("a-small-one", {"camvid_val": scores, "gamma": 0.5}), ("bare", {})):
        save_network(folder / f"{name}.safetensors", metrics=metrics)
    return folder


@pytest.fixture
def app(zoo, monkeypatch) -> AppTest:
    app = app_on(zoo, monkeypatch)
    app.switch_page("pages/lesson.py")
    return app


def at_step(app: AppTest, step: int) -> AppTest:
    app.session_state["lesson step"] = step - 1
    app.run()
    assert_step(app, step)
    return app


def assert_step(app: AppTest, step: int) -> None:
    assert not app.exception and not app.error
    assert app.title[0].value.startswith(f"{step} · ")


def metrics(app: AppTest) -> dict[str, float]:
    return {metric.label: float(metric.value) for metric in app.metric}


def words(app: AppTest) -> str:
    """All Markdown, without the marks of what no browser shall translate."""
    return re.sub(r"</?span[^>]*>", "", "\n".join(text.value for text in app.markdown))


def test_next_and_back_and_the_contents_lead_through_every_step(app):
    app.run()
    assert app.button(key="back").disabled
    for step in range(1, STEPS + 1):
        assert_step(app, step)
        assert any("For the class" in expander.label for expander in app.expander)
        if step < STEPS:
            app.button(key="next").click().run()
    assert app.button(key="next").disabled
    app.button(key="back").click().run()
    assert_step(app, STEPS - 1)
    app.radio(key="lesson step").set_value(1).run()
    assert_step(app, 2)


def test_the_softmax_by_hand_sums_to_one_and_follows_the_temperature(app):
    at_step(app, 1)
    assert "The row sums to 1.000" in words(app) and "**62%**" in words(app)  # e³ / (e² + e + 1 + 1 + 1/e + e³)
    app.slider(key="lesson temperature").set_value(5.0).run()
    assert_step(app, 1)
    assert "The row sums to 1.000" in words(app) and "**62%**" not in words(app)
    app.select_slider(key="lesson channels").set_value(1).run()
    row = lesson.saturation(1, scaled=False)
    assert list(app.table[0].value["q·k"]) == [f"{row.top_mass:.3f}", f"{row.effective_keys:.1f}"]
    assert list(app.table[0].value["q·k"]) == list(app.table[0].value["q·k / √d"])


def test_the_sliders_move_the_noise(app):
    at_step(app, 2)
    assert metrics(app)["interclass noise"] == 0.3
    app.slider(key="lesson astray").set_value(0.75)
    app.slider(key="lesson unevenness").set_value(1.0).run()
    assert_step(app, 2)
    assert metrics(app)["interclass noise"] == 0.75 and metrics(app)["intraclass noise"] == 1
    assert metrics(app)["chance"] == round(13 / 23, 3)


def test_a_typed_row_is_measured_and_an_empty_one_said(app):
    weights = pd.DataFrame(np.where(lesson.LABELS == lesson.ROAD, 1.0, 0.0), columns=list("123456"))
    app.session_state["lesson weights now"] = weights
    at_step(app, 2)
    app.button_group(key="lesson way").set_value("cell by cell").run()
    assert_step(app, 2)
    assert metrics(app)["interclass noise"] == 0 and metrics(app)["effective keys"] == 10


def test_an_empty_typed_row_is_said(app):
    app.session_state["lesson weights now"] = pd.DataFrame(np.zeros(lesson.LABELS.shape), columns=list("123456"))
    at_step(app, 2)
    app.button_group(key="lesson way").set_value("cell by cell").run()
    assert_step(app, 2)
    assert "emptied" in words(app)
    assert {metric.label: metric.value for metric in app.metric}["interclass noise"] == "–"


def test_the_gates_follow_the_distributions(app):
    at_step(app, 3)
    app.slider(key="lesson sure query").set_value(1.0)
    app.slider(key="lesson sure key").set_value(1.0).run()
    assert_step(app, 3)
    shown = metrics(app)
    assert (shown["sigmoid (the release)"], shown["binary (the abstract)"], shown["similarity (soft)"]) == (0.5, 0, 0)
    assert "0.500" in app.info[0].value and "0.731" in app.info[0].value and "**32%**" in app.info[0].value


def test_a_mistaken_gr_makes_hollows_under_the_binary_gate(app):
    at_step(app, 3)
    app.button_group(key="lesson gate").set_value("binary")
    app.toggle(key="lesson mistaken").set_value(True).run()
    assert_step(app, 3)
    assert metrics(app)["hollow fraction"] == 0.2 and metrics(app)["interclass noise"] == 0


def test_lr_follows_its_weights(app):
    at_step(app, 4)
    assert metrics(app)["hollow fraction"] == 0
    app.slider(key="lesson same score").set_value(-6.0)
    app.slider(key="lesson other score").set_value(6.0).run()
    assert_step(app, 4)
    row = lesson.retained_row(lesson.hollow_row(), same_score=-6.0, other_score=6.0).row
    assert metrics(app)["interclass noise"] == round(lesson.row_figures(row)["interclass_noise"], 3)


def test_both_sides_of_the_folding_agree_for_other_numbers(app):
    at_step(app, 4)
    for seed in (7, 20):
        app.slider(key="lesson seed").set_value(seed).run()
        assert_step(app, 4)
        line = next(text for text in words(app).splitlines() if "Largest difference" in text)
        assert float(line.split("**")[1]) < 1e-12 and float(line.split("**")[3]) < 1e-12


def test_the_cost_follows_the_size(app):
    at_step(app, 5)
    assert "64×128: N = 8,192" in app.table[0].value.columns
    app.selectbox(key="lesson image size").select("360×480 (CamVid)").run()
    assert_step(app, 5)
    cost = lesson.retention_cost(23 * 30)
    assert f"{cost.unfolded_numbers / cost.folded_numbers:,.0f} times less memory" in words(app)


def test_the_real_model_answers_to_gate_query_and_street(app):
    at_step(app, 6)
    first = app.table[0].value
    assert list(first.columns)[-3:] == ["raw", "rectified", "retained"]
    app.button_group(key="lesson model gate").set_value("oracle")
    app.button_group(key="lesson model LR").set_value("off").run()
    assert_step(app, 6)
    oracle = app.table[0].value
    assert list(oracle["raw"]) == list(first["raw"])
    assert oracle["rectified"].iloc[0] == "0.000"  # labels in place of predictions: nothing on other classes
    assert "retained" not in oracle  # without LR there is none
    app.selectbox(key="lesson class").select("Sky").run()
    assert_step(app, 6)
    assert list(app.table[0].value["raw"]) != list(first["raw"])
    app.selectbox(key="lesson street").select(1).run()
    assert_step(app, 6)


def test_what_the_attention_is_worth_comes_from_the_card(app):
    at_step(app, 7)
    assert "-badge[alive]" in words(app) and "of the pixels** change" in words(app)
    assert "**Mean IoU on camvid val**" in words(app)
    app.button_group(key="lesson replacement").set_value("off").run()
    assert_step(app, 7)
    app.selectbox(key="model").select("bare").run()
    assert_step(app, 7)
    assert "analysis.card" in app.info[0].value


def test_the_last_step_asks_its_questions(app):
    at_step(app, 8)
    assert sum("For the class" in expander.label for expander in app.expander) == 4
    assert "get the same class" in words(app)
    assert any("pixels that keep their class, the learnt map is no explanation" in text.value for text in app.caption)


def test_step_and_settings_survive_other_steps_and_pages(app):
    at_step(app, 2)
    app.slider(key="lesson astray").set_value(0.9).run()
    app.button(key="next").click().run()
    app.switch_page("pages/explorer.py").run()
    assert not app.exception
    app.switch_page("pages/lesson.py").run()
    assert_step(app, 3)
    app.button(key="back").click().run()
    assert_step(app, 2)
    assert app.slider(key="lesson astray").value == 0.9 and metrics(app)["interclass noise"] == 0.9


def test_without_a_model_the_steps_on_the_tiny_grid_still_stand(app, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "ZOO", tmp_path)
    at_step(app, 4)
    app.session_state["lesson step"] = 5
    app.run()
    assert not app.exception
    assert "no checkpoint" in app.error[0].value


@pytest.mark.parametrize(("asked", "shown"), [("4", 4), ("0", 1), ("9", 1), ("two", 1)])
def test_a_link_opens_its_step_and_a_wrong_one_is_named(app, asked, shown):
    app.query_params["step"] = asked
    app.run()
    assert_step(app, shown)
    assert [asked in warning.value for warning in app.warning] == ([] if asked == str(shown) else [True])
    app.button(key="next").click().run()
    assert app.query_params["step"] == str(shown + 1)


def test_the_timetable_fills_one_hour_on_the_page_and_in_the_tutorial(app):
    at_step(app, 1)
    rows = re.findall(r"^\| (\d+ – \d+ \| .*) \|$", words(app), re.MULTILINE)
    assert len(rows) == STEPS + 1 and rows[0].startswith("0 –") and rows[-1] == "48 – 60 | Exercise"
    tutorial = (Path(__file__).parents[2] / "docs" / "tutorials" / "class-hour.md").read_text(encoding="utf-8")
    assert all(f"| {row} |" in tutorial for row in rows)
