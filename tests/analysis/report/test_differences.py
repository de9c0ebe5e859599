from analysis.report.charts import CLASS_METRICS
from analysis.report.differences import checkpoint_comparison, stage_changes
from tests.analysis.report.small import Page

NONE = {"mean": None, "low": None, "high": None}
TESTED = {
    "mean": -0.12,
    "low": -0.2,
    "high": -0.04,
    "p": 0.004,
    "least_p": 0.001,
    "effect": -0.81,
    "test": "all sign flips of 10 blocks",
    "speaks_of": "this one sequence",
    "reason": None,
    "images": 40,
    "parts": 10,
    "per_class": {
        "<b>sky</b>": {**NONE, "mean": -0.3, "p": 0.01, "p_holm": 0.02, "effect": None, "images": 40},
        "tree": {**NONE, "mean": 0.1, "p": None, "p_holm": None, "effect": None, "images": 40},
    },
}
METRICS = {**dict.fromkeys((*CLASS_METRICS, "kept_mass"), NONE), **dict.fromkeys(CLASS_METRICS[:3], TESTED)}


def test_a_stages_change_stands_with_its_test_and_its_classes():
    page = Page("".join(stage_changes({"differences": {"rectified - raw": METRICS}}, {"differences": "<svg>"})))
    assert "−0.120 (−0.200 … −0.040)p = 0.004, effect −0.81" in page.text
    assert "Interclass noise is lower by 0.120" in page.text and "this one sequence alone" in page.text
    assert "<b>sky</b>−0.300p = 0.020" in page.text and "tree+0.100" in page.text


def test_one_stage_alone_changes_nothing():
    assert stage_changes({"differences": {}}, {}) == []


def test_checkpoints_stand_with_the_tests_of_their_differences():
    stage = {metric: {"mean": 0.5, "low": None, "high": None} for metric in CLASS_METRICS}
    summaries = {name: {"stages": {"raw": stage}} for name in ("one", "two")}
    comparison = {"two - one": {"images": 40, "stages": {"raw": METRICS}}}
    page = Page("".join(checkpoint_comparison(summaries, comparison, {"comparison": "<svg>"})))
    assert "two − one, paired over 40 images." in page.text and "p = 0.004, effect −0.81" in page.text
    assert "p is corrected for the number of classes (Holm)" in page.text
