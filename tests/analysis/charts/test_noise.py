"""Charts show a summary's own numbers, leave out what is undefined, and take no name for markup."""

import base64
import json

import numpy as np
import pytest

from analysis.charts import noise as charts
from analysis.measure.data_set import METRICS
from analysis.options import CONTROLS, STAGES

CLASS_NAMES = ("Sky", "<b>Tree</b> & co", "Pole")


def figures(mean, low=None, high=None, **more) -> dict:
    return {"mean": mean, "low": low, "high": high, "micro": mean, **more}


@pytest.fixture
def summary() -> dict:
    """A summary of a few images: Pole has too few of them, and the rectified stage has no hollow fraction."""
    noise = {"raw": 0.6, "rectified": 0.4, "retained": 0.43, "uniform": 0.9, "oracle": 0.1, "box": 0.44}
    stages = {}
    for stage, mean in noise.items():
        stages[stage] = {metric: figures(mean / 2, mean / 2 - 0.01, mean / 2 + 0.02) for metric in METRICS}
        for metric in METRICS:
            stages[stage][metric] |= {"per_class": {}, "boundary": figures(0.5), "interior": figures(0.25)}
        stages[stage]["interclass_noise"] |= figures(mean, mean - 0.05, mean + 0.1, chance=0.9, times_chance=mean / 0.9)
        stages[stage]["interclass_noise"]["per_class"] = {
            "Sky": figures(mean / 2, mean / 2 - 0.1, mean / 2 + 0.1, chance=0.8),
            "<b>Tree</b> & co": figures(mean, chance=0.95),
            "Pole": figures(None, chance=None),
        }
        stages[stage]["interclass_noise"]["gr_wrong"] = figures(None)
    stages["rectified"]["hollow_fraction"] = figures(None, per_class={})
    return {
        "images": 4,
        "stages": stages,
        "differences": {
            "rectified - raw": {metric: figures(-0.2, -0.25, -0.1) for metric in METRICS},
            "retained - rectified": {metric: figures(0.03) for metric in METRICS},
            "retained - raw": {metric: figures(None) for metric in METRICS},
        },
        "leakage": {stage: [[0.75, 0.25, 0.0], [0.5, 0.5, 0.0], None] for stage in noise},
        "hollow_curve": {
            "thresholds": [0.1, 0.25, 0.5],
            "stages": {"raw": [0.1, 0.2, None], "retained": [0, 0.1, 0.3]},
        },
        "emptied": {"raw": 0, "rectified": 1234, "retained": 7, "uniform": 0, "oracle": 0, "box": 0},
    }


def test_bars_are_of_the_stages_that_each_network_has(summary):
    plain = {**summary, "stages": {"raw": summary["stages"]["raw"]}, "differences": {}}
    figure = charts.stage_bars({"dnl": summary, "nl": plain}, "interclass_noise", STAGES)
    bars = {trace["name"]: trace["x"][0] for trace in traces(figure) if trace["type"] == "bar"}
    assert bars == {"raw": ["dnl", "nl"], "rectified (GR)": ["dnl"], "retained (LR)": ["dnl"]}
    assert not charts.stage_differences(plain, ["interclass_noise"]).data


def traces(figure) -> list[dict]:
    """The figure as the browser gets it; what is no JSON (NaN among it) would fail here."""
    return json.loads(figure.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in a figure"))["data"]


def values(found) -> list:
    """A list of a trace; Plotly packs number arrays as base64."""
    if isinstance(found, dict):
        array = np.frombuffer(base64.b64decode(found["bdata"]), found["dtype"])
        return array.reshape([int(n) for n in found["shape"].split(",")] if "shape" in found else -1).tolist()
    return found


def test_stage_bars_hold_means_intervals_and_chance(summary):
    raw, chance, rectified, *_ = traces(charts.stage_bars({"m": summary}, "interclass_noise", STAGES))
    assert raw["y"] == [0.6] and rectified["y"] == [0.4] and chance["y"] == [0.9]
    assert raw["error_y"]["array"] == pytest.approx([0.1]) and raw["error_y"]["arrayminus"] == pytest.approx([0.05])
    assert raw["error_y"]["visible"]
    assert raw["marker"]["color"] != rectified["marker"]["color"]
    assert len({trace["x"][0] for trace in (raw, rectified)}) == 2


def test_stage_bars_of_several_checkpoints_stand_side_by_side_with_literal_names(summary):
    raw = traces(charts.stage_bars({"a<i>": summary, "b": summary}, "intraclass_noise", ["raw"]))[0]
    assert raw["x"] == [["a&lt;i&gt;", "b"], ["raw", "raw"]]
    assert raw["y"] == [0.3, 0.3]


def test_class_bars_show_the_classes_with_a_figure_and_escape_their_names(summary):
    figure = charts.class_bars(summary, "interclass_noise", ["raw", "box"])
    raw, box, chance = traces(figure)
    assert raw["y"] == ["Sky", "&lt;b&gt;Tree&lt;/b&gt; &amp; co"]
    assert raw["x"] == [0.3, 0.6] and box["x"] == [0.22, 0.44] and chance["x"] == [0.8, 0.95]
    assert raw["error_x"]["array"][0] == pytest.approx(0.1)
    assert raw["error_x"]["array"][1] is None  # a class of one image has no interval
    assert box["marker"]["pattern"]["shape"] and not raw["marker"]["pattern"]["shape"]  # a control is hatched
    assert "b>" not in figure.to_json().replace("u003c", "<").replace("&lt;b&gt;", "").replace("&lt;/b&gt;", "")


def test_what_is_undefined_is_left_out_of_bars(summary):
    hollow = traces(charts.stage_bars({"m": summary}, "hollow_fraction", STAGES))
    assert [trace["y"] for trace in hollow] == [[0.3], [None], [0.215]]
    assert not hollow[1]["error_y"]["visible"]
    assert charts.classes_with_figures(summary, "hollow_fraction", STAGES) == []
    assert traces(charts.class_bars(summary, "hollow_fraction", STAGES))[0]["x"] == []


def test_the_leakage_matrix_keeps_its_numbers_and_leaves_out_the_absent_class(summary):
    [heat] = traces(charts.leakage_heatmap(summary, "raw", CLASS_NAMES))
    assert heat["x"] == heat["y"] == ["Sky", "&lt;b&gt;Tree&lt;/b&gt; &amp; co"]
    assert values(heat["z"]) == [[0.75, 0.25], [0.5, 0.5]]
    assert heat["text"] == [["75%", "25%"], ["50%", "50%"]]


def test_the_leakage_matrix_of_many_classes_has_no_numbers(summary):
    many = charts.MOST_NUMBERED_CLASSES + 1
    summary["leakage"]["raw"] = (np.ones((many, many)) / many).tolist()
    [heat] = traces(charts.leakage_heatmap(summary, "raw", [f"class {n}" for n in range(many)]))
    assert "texttemplate" not in heat


def test_the_distribution_counts_the_defined_queries(summary):
    found = {"raw": np.array([0.0, 0.01, 0.99, np.nan]), "retained": np.array([np.nan])}
    [raw] = traces(charts.distribution(found, "interclass_noise"))
    steps = values(raw["y"])
    assert len(steps) == charts.BINS + 1
    assert (
        steps[0] == pytest.approx(2 / 3) and steps[-2] == pytest.approx(1 / 3) and sum(steps[:-1]) == pytest.approx(1)
    )
    assert "median 0.01" in raw["name"]
    [keys] = traces(charts.distribution({"raw": np.array([2.0, 40.0])}, "effective_keys"))
    assert values(keys["x"])[-1] == 40


def test_the_hollow_curve_has_a_line_for_each_stage_that_has_one(summary):
    raw, retained = traces(charts.hollow_curve(summary, ["raw", "retained", "box"]))
    assert raw["x"] == [0.1, 0.25, 0.5] and raw["y"] == [0.1, 0.2, None] and retained["y"] == [0, 0.1, 0.3]
    [mark] = charts.hollow_curve(summary, STAGES).layout.shapes
    assert mark.x0 == 0.25


def test_stage_differences_hold_means_and_intervals(summary):
    rectified, retained, both = traces(charts.stage_differences(summary, ["interclass_noise", "auc"]))
    assert rectified["x"] == [-0.2, -0.2]
    assert rectified["error_x"]["array"] == pytest.approx([0.1, 0.1])
    assert rectified["error_x"]["arrayminus"] == pytest.approx([0.05, 0.05])
    assert retained["x"] == [0.03, 0.03] and not retained["error_x"]["visible"]
    assert both["x"] == [None, None]


def test_kept_mass_says_how_many_rows_are_emptied(summary):
    raw, rectified, _ = traces(charts.kept_mass_bars(summary, STAGES))
    assert raw["x"] == [0.3] and raw["text"] == [""] and rectified["text"] == [" 1,234 emptied"]


def test_splits_leave_out_what_was_not_measured(summary):
    [raw] = traces(charts.split_bars(summary, "intraclass_noise", ["raw"]))
    assert raw["y"] == ["at a class boundary", "inside a class"] and raw["x"] == [0.5, 0.25]


def test_the_table_has_every_metric_of_every_stage_as_text(summary):
    rows = {row["figure"]: row for row in charts.figure_table(summary, ["raw", "rectified"])}
    assert rows["interclass noise"] == {
        "figure": "interclass noise",
        "raw": "0.600 (0.550 … 0.700)",
        "rectified (GR)": "0.400 (0.350 … 0.500)",
    }
    assert rows["interclass noise / chance"]["raw"] == "0.667"
    assert rows["hollow fraction"]["rectified (GR)"] == "–"
    assert {charts.METRIC_WORDS[metric] for metric in METRICS} <= set(rows)


def test_every_stage_has_its_mark():
    assert set(charts.STAGE_MARKERS) == {*STAGES, *CONTROLS}
