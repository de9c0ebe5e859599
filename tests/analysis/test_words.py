"""Every stage and metric has its words, and a summary its sentences."""

import pytest

from analysis.measure.data_set import METRICS
from analysis.options import CONTROLS, STAGES
from analysis.words import (
    CONTROL_WORDS,
    METRIC_WORDS,
    PIN_WORDS,
    SPLIT_DEFINITIONS,
    SPLIT_WORDS,
    STAGE_COLOURS,
    STAGE_WORDS,
    TILE_DEFINITIONS,
    conclusion,
    difference_words,
    headline,
    interval_sentences,
)


@pytest.fixture
def summary() -> dict:
    """The means of a data set; the rectified stage has no hollow fraction."""
    noise = {"raw": 0.6, "rectified": 0.4, "retained": 0.43}
    stages = {
        stage: {"interclass_noise": {"mean": mean}, "hollow_fraction": {"mean": mean / 2}}
        for stage, mean in noise.items()
    }
    stages["raw"]["interclass_noise"]["times_chance"] = 0.6 / 0.9
    stages["rectified"]["hollow_fraction"]["mean"] = None
    return {"stages": stages}


def test_every_stage_and_metric_has_its_words():
    assert set(STAGE_WORDS) == set(STAGE_COLOURS) == {*STAGES, *CONTROLS}
    assert set(CONTROL_WORDS) == set(CONTROLS)
    assert set(METRIC_WORDS) == set(METRICS)
    assert set(SPLIT_DEFINITIONS) == set(SPLIT_WORDS)


def test_a_figure_has_one_name_wherever_it_stands():
    for name, (words, _) in {**TILE_DEFINITIONS, **PIN_WORDS}.items():
        assert words == METRIC_WORDS.get(name, words)


def test_the_headline_says_what_each_step_changes(summary):
    assert headline(summary) == (
        "Raw attention puts 60 % of its mass on other classes, 0.67 × chance; GR takes 20 points away (to 40 %); "
        "LR adds 3 points (to 43 %). 30 % of a query's own class are hollows in the raw map, 22 % after LR."
    )


def test_the_headline_names_no_step_that_the_network_lacks(summary):
    del summary["stages"]["rectified"]
    assert "0.67 × chance; LR takes 17 points away (to 43 %)." in headline(summary)
    del summary["stages"]["retained"]
    assert headline(summary) == (
        "Raw attention puts 60 % of its mass on other classes, 0.67 × chance. 30 % of a query's own class are hollows "
        "in the raw map."
    )


def test_the_headline_without_interclass_noise_is_a_sentence(summary):
    summary["stages"]["raw"]["interclass_noise"]["mean"] = None
    assert headline(summary).startswith("There is no interclass noise to measure here")


def test_the_headline_calls_a_tiny_change_none(summary):
    summary["stages"]["rectified"]["interclass_noise"]["mean"] = 0.603
    assert "GR leaves it as it is; LR takes 17 points away" in headline(summary)


@pytest.mark.parametrize(
    ("facts", "groups", "sentences"),
    [
        (
            {"method": "Student's t over 8 blocks", "speaks_of": "this one sequence", "images": 101, "groups": 1}
            | {"effective_images": 21.3, "block_length": 12.6},
            ["0016E5"],
            "95 % intervals by Student's t over 8 blocks of about 13 images. The 101 images of one group (0016E5) tell "
            "as much as about 21 independent ones. The intervals speak of this one sequence alone, not of others.",
        ),
        (
            {"method": "Student's t over 14 blocks", "speaks_of": "these 2 groups", "images": 233, "groups": 2}
            | {"effective_images": 60.0, "block_length": 16.6},
            ["0001TP", "Seq05VD"],
            "95 % intervals by Student's t over 14 blocks of about 17 images. The 233 images of 2 groups (0001TP, "
            "Seq05VD) tell as much as about 60 independent ones. The intervals speak of these 2 groups alone, not of "
            "others.",
        ),
        (
            {"method": "bootstrap-t over 20 groups", "speaks_of": "groups like these", "images": 200, "groups": 20}
            | {"effective_images": 44.0, "block_length": None},
            [f"city {index}" for index in range(20)],
            "95 % intervals by bootstrap-t over 20 groups. The 200 images of 20 groups tell as much as about 44 "
            "independent ones. The intervals speak of groups like these.",
        ),
        (
            {"method": "bootstrap-t over 90 images", "speaks_of": "images like these", "images": 90, "groups": None}
            | {"effective_images": 90.0, "block_length": None},
            [],
            "95 % intervals by bootstrap-t over 90 images. They take each image as independent, since nothing says "
            "which are of one scene.",
        ),
        (
            {"method": "none", "reason": "2 images: an interval needs 3"},
            [],
            "No intervals (2 images: an interval needs 3).",
        ),
    ],
)
def test_sentences_say_what_intervals_speak_of(facts, groups, sentences):
    summary = {"intervals": {"level": 0.95, **facts}, "groups": dict.fromkeys(groups)}
    assert interval_sentences(summary) == sentences


TESTED = {
    "mean": -0.12,
    "low": -0.2,
    "high": -0.04,
    "p": 0.004,
    "least_p": 0.001,
    "test": "all sign flips of 10 blocks",
    "speaks_of": "this one sequence",
    "reason": None,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            "Interclass noise is lower by 0.120, more than chance would often show (p = 0.004); that speaks of this "
            "one sequence alone, not of others.",
        ),
        (
            {"mean": 0.1, "low": None, "high": None, "p": 0.0001, "speaks_of": "images like these"},
            "Interclass noise is higher by 0.100, more than chance would often show (p < 0.001); that speaks of images "
            "like these.",
        ),
        (
            {"mean": 4.2e-5, "low": -1e-5, "high": 9e-5, "p": 0.031, "speaks_of": "images like these"},
            "Interclass noise is higher by 4e-05, more than chance would often show (p = 0.031); that speaks of images "
            "like these. The interval holds 0 all the same: a borderline case.",
        ),
        (
            {"p": 0.3, "high": 0.1},
            "No difference in interclass noise can be told from chance (p = 0.300); there may be one still.",
        ),
        (
            {"p": 0.06},
            "No difference in interclass noise can be told from chance (p = 0.060); there may be one still. The "
            "interval leaves out 0 all the same: a borderline case.",
        ),
        (
            {"least_p": 0.25, "p": 0.25, "test": "all sign flips of 3 groups"},
            "Nothing can be concluded of interclass noise: all sign flips of 3 groups allow no p below 0.25.",
        ),
        ({"p": None, "reason": "2 images: it takes 3"}, "No test of interclass noise (2 images: it takes 3)."),
        ({"mean": None}, "No class has enough images for a difference in interclass noise."),
    ],
)
def test_a_tested_difference_says_what_may_be_concluded(changes, expected):
    assert conclusion("interclass_noise", {**TESTED, **changes}) == expected


def test_a_difference_is_written_with_signs_and_a_zero_without():
    assert difference_words({"mean": -0.1204, "low": -0.2, "high": 0.04}) == "−0.120 (−0.200 … +0.040)"
    assert difference_words({"mean": -0.0001, "low": None, "high": None}) == "0.000"
