import math
from itertools import product

import numpy as np
import pytest

from analysis.intervals import holm, mean_interval, paired_test
from benchmarks.intervals import LAYOUTS
from benchmarks.paired import found


def by_hand(parts, stretch=1.0):
    """p by trying every flip in a plain loop."""
    distances = [
        abs(sum(sign * part for sign, part in zip(signs, parts, strict=True)))
        for signs in product((1, -1), repeat=len(parts))
    ]
    return np.mean([stretch * distance >= abs(sum(parts)) - 1e-12 for distance in distances])


# --- under the null --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "figure"),
    [("101 of one sequence", "gaussian"), ("101 of one sequence", "networks"), ("233 of 2 drives", "networks")],
)
def test_one_in_twenty_is_called_different_where_nothing_differs(name, figure):
    shares = found(LAYOUTS[name], figure, 200, over_images=name.startswith("101"))
    assert 0.01 <= shares.at_5 <= 0.095  # of 200 sets a share is right to ±0.03
    assert not shares.over_images < 0.2  # the images alone are no independent parts


# --- what can be computed on paper -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1, 2, 3, 4, 5], 2 / 32),
        ([3, 1, -1], 3 / 4),  # 5, 3, 3 and 1 are the distances
        ([1, 2, -3], 1),
        ([-2, -2, -2, 1], 2 / 8),  # 7 and 5 of 7, 5, 3, 3, 3, 1, 1, 1
    ],
)
def test_few_images_are_flipped_in_all_ways(differences, expected):
    first = np.linspace(0.2, 0.8, len(differences))
    tested = paired_test(first, first + differences)
    assert tested.p == by_hand(differences) == expected
    assert tested.mean == pytest.approx(np.mean(differences))
    assert tested.least_p == 2 / 2 ** len(differences)
    assert tested.method == f"all sign flips of {len(differences)} images" and tested.speaks_of == "images like these"


def test_the_interval_is_that_of_the_differences_and_the_effect_their_mean_in_standard_deviations():
    first, second = np.random.default_rng(0).random((2, 9))
    tested, differences = paired_test(first, second), second - first
    assert tested[:3] == mean_interval(differences)[:3]
    assert tested.effect == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert tested.images == tested.parts == 9


def test_groups_are_flipped_as_one():
    tested = paired_test(np.zeros(6), [1, 2, 3, 1, 1, -1], ["a", "a", "a", "b", "b", "c"])
    assert tested.p == by_hand([6, 2, -1]) == 0.5  # 9, 7, 5 and 3
    assert tested.least_p == 0.25 and tested.method == "all sign flips of 3 groups"


def test_many_parts_are_flipped_at_random():
    rng = np.random.default_rng(1)
    differences = rng.standard_normal(14) + 0.5
    tested = paired_test(np.zeros(14), differences)
    assert tested.method == "4,999 random sign flips of 14 images" and tested.least_p == 1 / 5000
    assert tested.p == pytest.approx(by_hand(differences.tolist()), abs=0.02)
    assert paired_test(np.zeros(600), rng.random(600)).p == 1 / 5000


def test_blocks_are_flipped_and_what_they_share_is_added():
    values = np.repeat(np.random.default_rng(2).standard_normal(10), 10)
    tested = paired_test(np.zeros(100), values, ["drive"] * 100)
    assert tested.method == "all sign flips of 10 blocks" and tested.speaks_of == "this one sequence"
    own = values - values.mean()
    correlation = ((own[1:] * own[:-1]).sum() / (own**2).sum() + 0.01) / (1 - 0.04)
    stretch = math.sqrt(1 + 2 * correlation / (1 - correlation**2) / 10)
    assert tested.p == pytest.approx(by_hand(values.reshape(10, 10).sum(axis=1).tolist(), stretch))


def test_a_macro_difference_is_over_images_and_then_over_classes():
    nan = math.nan
    first = np.array([[0.5, 0.2], [0.6, nan], [0.4, 0.3]])
    second = np.array([[0.4, 0.1], [0.4, 0.9], [0.3, nan]])
    tested = paired_test(first, second)
    # Class by class −0.1, −0.2, −0.1 in three images, and −0.1 in one.
    assert tested.mean == pytest.approx((-0.4 / 3 - 0.1) / 2)
    assert tested.p == by_hand([-0.1 / 6 - 0.1 / 2, -0.2 / 6, -0.1 / 6]) == 0.25


# --- what must hold for any values -----------------------------------------------------------------------------------


def test_the_order_of_the_two_changes_signs_alone():
    first, second = np.random.default_rng(3).random((2, 40, 3))
    groups = np.repeat(["a", "b"], 20)
    there, back = paired_test(first, second, groups), paired_test(second, first, groups)
    assert there.p == back.p
    assert there.mean == pytest.approx(-back.mean) and there.effect == pytest.approx(-back.effect)


def test_the_inputs_are_not_changed_and_the_same_seed_gives_the_same():
    first, second = np.random.default_rng(4).random((2, 30))
    kept = first.copy(), second.copy()
    assert paired_test(first, second, seed=5) == paired_test(first, second, seed=5)
    np.testing.assert_array_equal([first, second], kept)


def test_the_same_values_do_not_differ():
    tested = paired_test(np.arange(20.0), np.arange(20.0))
    assert tested.p == 1 and tested.mean == 0 and tested.effect is None


@pytest.mark.parametrize(("groups", "images"), [(["a"] * 20, 20), (np.repeat(["a", "b"], 10), 20), (None, 2)])
def test_too_few_parts_have_no_test(groups, images):
    tested = paired_test(np.zeros(images), np.ones(images), groups)
    assert tested.p is None and tested.least_p is None and tested.method == "none"
    assert tested.reason == mean_interval(np.ones(images), groups).reason


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        paired_test([1, 2, 3], [1, 2])


def test_values_that_are_none_are_refused():
    for first, message in ((np.ma.masked_equal([1, 2, 3], 2), "first values are a masked"), ([1, 2, np.inf], "finite")):
        with pytest.raises(ValueError, match=message):
            paired_test(first, [1, 2, np.inf])  # their difference is NaN


@pytest.mark.parametrize("images", [3, 40])
def test_a_seed_that_is_none_is_refused_however_few_images(images):
    with pytest.raises(ValueError, match=r"seed is 1\.5; it must be a whole number"):
        paired_test(np.zeros(images), np.arange(images), seed=1.5)


# --- several tests at once -------------------------------------------------------------------------------------------


def test_holm_multiplies_the_smallest_most_and_never_turns_the_order():
    assert holm([0.01, 0.04, 0.03, None, 0.005]) == pytest.approx([0.03, 0.06, 0.06, None, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == [] and holm([None]) == [None]


@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan"), "0.1"])
def test_holm_refuses_what_is_no_p_value(wrong):
    with pytest.raises(ValueError, match=r"a p-value is .*; it must be a number from 0 to 1"):
        holm([0.2, wrong])
