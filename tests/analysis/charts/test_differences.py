from analysis.charts.differences import class_rows, difference_rows

OF_CLASS = {"mean": 0.1, "low": None, "high": None, "p": 0.01, "p_holm": 0.02, "effect": 0.5, "images": 1200}
TESTED = {
    "mean": -0.12,
    "low": -0.2,
    "high": -0.04,
    "p": 0.0001,
    "effect": -0.81,
    "per_class": {"sky": OF_CLASS, "car": {**OF_CLASS, "p_holm": None, "effect": None}},
}
NONE = {"mean": None, "low": None, "high": None, "p": None, "effect": None, "per_class": {}}
DIFFERENCES = {"rectified - raw": {"interclass_noise": TESTED, "hollow_fraction": NONE}}


def test_a_row_for_each_difference_that_there_is():
    assert difference_rows(DIFFERENCES, ("interclass_noise", "hollow_fraction")) == [
        {
            "difference": "rectified − raw",
            "figure": "interclass noise",
            "change": "−0.120 (−0.200 … −0.040)",
            "p": "< 0.001",
            "effect": "−0.81",
        }
    ]


def test_a_row_for_each_class_with_its_corrected_p():
    sky, car = class_rows(DIFFERENCES, "interclass_noise")
    assert sky == {
        "difference": "rectified − raw",
        "class": "sky",
        "change": "+0.100",
        "p (Holm)": "0.020",
        "effect": "+0.50",
        "images": "1,200",
    }
    assert car["p (Holm)"] == car["effect"] == "–"
    assert class_rows({"a": {"hollow_fraction": NONE}}, "hollow_fraction") == []
