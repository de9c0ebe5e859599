import math

import numpy as np
import pandas
import pytest

from analysis.intervals import Interval, mean_interval, ratio_interval, student_quantile
from benchmarks.intervals import LAYOUTS, coverage

SETS = 150  # a coverage of 0.92 is then right to 0.02


def half_width(found: Interval) -> float:
    assert found.low is not None and found.high is not None
    return (found.high - found.low) / 2


# --- coverage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, layout in LAYOUTS.items() if layout.target > 0])
def test_intervals_hold_the_mean_as_often_as_they_say(name):
    found = coverage(LAYOUTS[name], "mean", SETS)
    assert found.given == 1
    assert found.held >= LAYOUTS[name].target - 0.04
    # The bootstrap over images takes all images as independent, and few for many.
    assert found.bootstrap < (found.held if "independent" in name else 0.75)


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("101 of one sequence", "macro"),
        ("101 of one sequence", "paired"),
        ("200 of 20 groups", "macro"),
        ("101 independent", "macro"),
        ("5 independent", "macro"),
        ("5 independent", "paired"),
        ("10 independent", "skewed"),
        ("233 of 2 drives", "ratio"),
    ],
)
def test_intervals_hold_other_figures_too(name, figure):
    found = coverage(LAYOUTS[name], figure, SETS, bootstrap=False)
    assert found.held >= 0.86
    assert found.width < 2


# --- what can be computed on paper -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freedom", "level", "expected"),
    [(1, 0.95, 12.706205), (2, 0.95, 4.302653), (4, 0.9, 2.131847), (10, 0.99, 3.169273), (1e9, 0.95, 1.959964)],
)
def test_students_quantiles_are_those_of_the_tables(freedom, level, expected):
    assert student_quantile(freedom, level) == pytest.approx(expected, rel=2e-4 if freedom > 1e6 else 1e-6)


def test_few_images_that_are_not_skewed_have_students_interval():
    found = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3
    assert half_width(found) == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-5)
    assert found.method == "Student's t over 5 images, skewness corrected"
    assert (found.images, found.groups, found.parts, found.effective_images) == (5, 5, 5, 5)
    assert found.speaks_of == "images like these" and found.reason is None and found.block_length is None


def test_few_skewed_images_have_an_interval_that_reaches_further_to_the_long_side():
    found = mean_interval([0.1, 0.1, 0.12, 0.14, 0.2, 0.5])
    assert found.high - found.mean > 1.5 * (found.mean - found.low)


def test_equal_groups_have_students_interval_of_their_means():
    means = np.arange(12) ** 1.5
    values = (means[:, None] + [-1, 0, 1]).ravel()
    found = mean_interval(values, np.repeat([f"drive {group}" for group in range(12)], 3))
    assert found.mean == pytest.approx(means.mean())
    assert half_width(found) == pytest.approx(2.200985 * means.std(ddof=1) / math.sqrt(12), rel=1e-5)
    assert found.method == "Student's t over 12 groups" and found.speaks_of == "groups like these"
    # 36 images that differ as these do would tell three times as much.
    assert found.effective_images == pytest.approx(12, rel=0.1)


def test_blocks_of_one_sequence_have_students_interval_of_their_means():
    values = np.repeat(np.random.default_rng(0).standard_normal(10), 10)
    found = mean_interval(values, ["0016E5"] * 100)
    blocks = np.array([block.mean() for block in np.array_split(values, found.parts)])
    weights = np.array([len(block) for block in np.array_split(values, found.parts)]) / 100
    error = math.sqrt(found.parts / (found.parts - 1) * ((weights * (blocks - found.mean)) ** 2).sum())
    assert half_width(found) == pytest.approx(student_quantile(found.parts - 1, 0.95) * error, rel=0.01)
    assert found.method == f"Student's t over {found.parts} blocks" and found.parts <= 8
    assert found.speaks_of == "this one sequence" and found.groups == 1
    assert found.block_length == 100 / found.parts
    assert found.effective_images < 20


def test_a_macro_mean_is_over_images_and_then_over_classes():
    nan = math.nan
    values = np.array([[1.0, nan, nan], [2.0, 5.0, nan], [3.0, 7.0, nan], [nan, nan, nan]])
    found = mean_interval(values)
    assert found.mean == pytest.approx((2 + 6) / 2)
    assert found.images == 3


def test_classes_that_are_alike_tell_as_much_as_one():
    values = np.random.default_rng(0).random(15)
    one, three = mean_interval(values), mean_interval(np.stack([values] * 3, axis=1))
    np.testing.assert_allclose(three[:3], one[:3])


def test_a_class_in_a_single_image_is_given_the_spread_of_the_others():
    rng = np.random.default_rng(0)
    values = np.full((15, 3), math.nan)
    values[:, :2] = rng.standard_normal((15, 2))
    values[4, 2] = 0.0
    without, found = mean_interval(values[:, :2]), mean_interval(values)
    # A third of the mean is one image, whose variance is about 1.
    assert half_width(found) > half_width(without)
    assert half_width(found) > 1.5 / 3


# --- what must hold for any values -----------------------------------------------------------------------------------

CASES = {
    "few images": (6, None, None),
    "images": (40, None, None),
    "groups": (60, np.arange(60) // 4, None),
    "one sequence": (60, None, np.arange(60)),
    "two drives": (90, np.arange(90) // 40 > 0, np.arange(90)),
    "a short drive": (90, np.arange(90) // 80, np.arange(90)),
}


@pytest.fixture(params=CASES)
def case(request):
    images, groups, order = CASES[request.param]
    values = np.random.default_rng(1).random((images, 3)) ** 2
    values[np.random.default_rng(2).random((images, 3)) < 0.2] = math.nan
    return values, groups, order


def test_the_same_input_has_the_same_interval(case):
    values, groups, order = case
    before = values.copy()
    assert mean_interval(values, groups, order, seed=3) == mean_interval(values, groups, order, seed=3)
    np.testing.assert_array_equal(values, before)


def test_limits_move_and_stretch_with_the_values(case):
    values, groups, order = case
    found, moved = mean_interval(values, groups, order), mean_interval(-3 * values + 5, groups, order)
    np.testing.assert_allclose(moved.mean, -3 * found.mean + 5)
    # Resamples are few: their quantiles on the two sides are not each other's mirror image where ranks fall between.
    np.testing.assert_allclose([moved.high, moved.low], -3 * np.array(found[1:3]) + 5, rtol=0.02)
    assert found.low < found.mean < found.high
    assert found.effective_images <= found.images


def test_images_may_come_in_any_order_if_they_say_where_they_belong(case):
    values, groups, order = case
    shuffled = np.random.default_rng(0).permutation(len(values))
    found = mean_interval(values, groups, order)
    again = mean_interval(values[shuffled], *(part if part is None else part[shuffled] for part in (groups, order)))
    assert (found.method, found.parts, found.groups) == (again.method, again.parts, again.groups)
    np.testing.assert_allclose(again[:3], found[:3], rtol=0.03 if order is None and groups is None else 1e-9)


def test_a_higher_level_is_wider(case):
    low, middle, high = (half_width(mean_interval(*case, level=level)) for level in (0.5, 0.95, 0.99))
    assert low < middle < high


def test_images_without_a_value_do_not_count(case):
    values, groups, order = case
    values[[1, -2]] = math.nan
    kept = np.isfinite(values).any(axis=1)
    expected = mean_interval(values[kept], *(part if part is None else part[kept] for part in (groups, order)))
    assert mean_interval(values, groups, order) == expected


def test_values_without_spread_have_an_interval_without_width():
    found = mean_interval([0.0] * 25)
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_one_image_in_which_something_is_seen_does_not_break_the_bootstrap():
    found = mean_interval([0.0] * 24 + [1.0])
    assert found.method == "Student's t over 25 images, skewness corrected"
    assert found.low < found.mean < found.high < 1


# --- which images are taken as independent ---------------------------------------------------------------------------


def test_groups_of_one_image_are_independent_images():
    values = np.random.default_rng(0).random(7)
    assert mean_interval(values, list("abcdefg")) == mean_interval(values)


def test_drives_are_compared_within_themselves():
    rng = np.random.default_rng(0)
    values, drives = rng.random(100), np.repeat(["one", "two"], 50)
    apart = mean_interval(values + 10 * (drives == "two"), drives)
    assert half_width(apart) == pytest.approx(half_width(mean_interval(values, drives)))
    assert apart.speaks_of == "these 2 groups" and apart.groups == 2


def test_short_drives_are_compared_with_each_other():
    found = mean_interval(np.random.default_rng(0).random(60), np.arange(60) // 20)
    assert found.method == "Student's t over 3 groups" and found.parts == 3


def test_images_that_resemble_their_neighbours_get_longer_blocks():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(400)
    smooth = np.convolve(rng.standard_normal(420), np.ones(21), mode="valid")
    lengths = [mean_interval(values, order=np.arange(400)).block_length for values in (noise, smooth)]
    assert lengths[0] == 400 / 20 and lengths[1] >= 50


# --- none, with the reason -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "groups", "reason"),
    [
        ([0.5], None, "1 image: an interval needs 3"),
        ([0.5, 0.6], None, "2 images: an interval needs 3"),
        (
            np.arange(29.0),
            ["drive"] * 29,
            "29 images of one sequence: an interval needs 30 images of one sequence, or 3 groups",
        ),
        (
            np.arange(50.0),
            np.arange(50) // 25,
            "50 images of 2 groups: an interval needs 30 images of one sequence, or 3 groups",
        ),
        (
            np.where(np.eye(4), 0.5, math.nan),
            None,
            "no class is in two images: nothing tells how much they differ",
        ),
    ],
)
def test_where_no_interval_is_possible_the_reason_is_given(values, groups, reason):
    found = mean_interval(values, groups)
    assert found.low is None and found.high is None and found.effective_images is None
    assert found.method == "none" and found.reason == reason
    assert found.mean == pytest.approx(np.nanmean(values))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": []}, "none of 0 values"),
        ({"values": [math.nan]}, "none of 1 values"),
        ({"values": [1, math.inf]}, "finite"),
        ({"values": np.zeros((2, 2, 2))}, r"\(2, 2, 2\)"),
        ({"values": [1, 2, 3], "groups": [1, 2]}, "groups has 2 entries for 3 images"),
        ({"values": [1, 2, 3], "order": [1]}, "order has 1 entries for 3 images"),
        ({"values": [1, 2, 3], "level": 95}, "between 0 and 1"),
        ({"values": np.ma.masked_greater([0.1, 0.2, 0.9], 0.5)}, r"masked array; give NaN"),
        ({"values": [1, 2j]}, "of the kind complex128"),
        ({"values": ["0.1", "0.2"]}, "of the kind <U3"),
        ({"values": (value for value in (1, 2))}, "values are no real numbers"),
        ({"values": [1, -1e300]}, r"reach 1e\+300; they can be reckoned with up to 1e\+100"),
        ({"values": [1, 2, 3], "groups": ["a", None, "a"]}, "groups holds None"),
        ({"values": [1, 2, 3], "groups": np.array([1, np.nan, 1])}, r"groups holds np\.float64\(nan\)"),
        ({"values": [1, 2, 3], "groups": np.zeros((3, 1))}, r"groups holds array\(\[0\.\]\)"),
        ({"values": [1, 2, 3], "groups": 1}, "groups is 1; it must be a sequence"),
        ({"values": [1, 2, 3], "groups": np.ma.masked_equal([1, 2, 3], 2)}, "groups is a masked array"),
        ({"values": [1, 2, 3], "order": [1, None, 2]}, "order holds None"),
        ({"values": [1, 2, 3], "order": [1, math.nan, 2]}, "order holds nan"),
        ({"values": [1, 2, 3], "order": [(1,), "a", (2,)]}, "order holds"),
        ({"values": [1, 2, 3], "groups": ["a", pandas.NA, "a"]}, "groups holds <NA>"),
        ({"values": [1, 10**400]}, "values are no real numbers"),
        ({"values": [1, 2, 3], "level": "0.95"}, "level is '0.95'; it must be a number between 0 and 1"),
        ({"values": [1, 2, 3], "level": None}, "level is None"),
        ({"values": [1, 2, 3], "level": math.nan}, "level is nan"),
        ({"values": [1, 2, 3], "seed": 1.5}, "seed is 1.5; it must be a whole number, 0 or more"),
        ({"values": [1, 2, 3], "seed": None}, "seed is None"),
        ({"values": [1, 2, 3], "seed": -1}, "seed is -1"),
        ({"values": [1, 2, 3], "seed": True}, "seed is True"),
        ({"values": [1, 2, 3], "seed": [1]}, r"seed is \[1\]"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        mean_interval(**arguments)


@pytest.mark.parametrize("values", [[True, False, True], np.array([1, 0, 1], np.uint8), np.ma.array([1, 0, 1])])
def test_booleans_whole_numbers_and_unmasked_arrays_are_numbers(values):
    assert mean_interval(values) == mean_interval([1.0, 0.0, 1.0])


def test_a_seed_may_be_of_numpy():
    values = np.random.default_rng(0).random(30) ** 3
    assert mean_interval(values, seed=np.int64(3)) == mean_interval(values, seed=3) != mean_interval(values, seed=4)


@pytest.mark.parametrize(
    ("freedom", "level", "message"),
    [(0.5, 0.95, "freedom is 0.5"), (math.nan, 0.95, "freedom is nan"), (4, 1, "level is 1"), ("4", 0.5, "is '4'")],
)
def test_a_quantile_of_what_is_no_distribution_is_refused(freedom, level, message):
    with pytest.raises(ValueError, match=message):
        student_quantile(freedom, level)


def test_what_is_said_of_images_without_a_value_does_not_matter():
    found = mean_interval([1, math.nan, 2, 4], groups=["a", None, "b", "c"], order=[0, math.nan, 1, 2])
    assert found == mean_interval([1, 2, 4], groups=["a", "b", "c"], order=[0, 1, 2])
    objects = np.array([1, None, 2, 4], object)  # None: no value
    assert mean_interval(objects, groups=["a", "b", "b", "c"]) == found


@pytest.mark.parametrize("scale", [1e-150, 1e-40, 1e90])
def test_limits_stretch_with_tiny_and_huge_values(scale):
    values = np.random.default_rng(0).exponential(size=12)
    expected = np.array(mean_interval(values)[:3])
    np.testing.assert_allclose(np.array(mean_interval(scale * values)[:3]) / scale, expected, rtol=1e-9)


# --- ratios ----------------------------------------------------------------------------------------------------------


def test_a_ratio_is_that_of_the_means():
    rng = np.random.default_rng(0)
    noise, chance = rng.random((30, 4)), 0.8 + 0.1 * rng.random((30, 4))
    found = ratio_interval(noise, chance)
    assert found.mean == pytest.approx(noise.mean() / chance.mean())
    assert found.low < found.mean < found.high
    # Noise in units of a chance that is the same everywhere is noise divided by it.
    np.testing.assert_allclose(
        ratio_interval(noise, np.full_like(noise, 0.8))[:3], np.array(mean_interval(noise)[:3]) / 0.8, rtol=1e-5
    )


def test_values_in_proportion_have_a_ratio_without_error():
    chance = np.random.default_rng(0).random(12)
    found = ratio_interval(0.25 * chance, chance)
    np.testing.assert_allclose(found[:3], 0.25, rtol=1e-9)


def test_a_ratio_counts_what_both_have():
    found = ratio_interval([1.0, 2.0, 3.0, 9.0, math.nan], [2.0, 4.0, 6.0, math.nan, 3.0])
    assert found.mean == pytest.approx(0.5) and found.images == 3


@pytest.mark.parametrize(
    ("numerator", "denominator", "message"),
    [
        ([1, 2, 3], [1, 2], r"\(3,\) and \(2,\)"),
        ([1, 2, 3], [0, 0, 0], "there is no ratio"),
        ([1, 2, 3], [1e-200, 0, 0], "mean is 3.3e-201; there is no ratio"),
        (np.ma.masked_equal([1, 2, 3], 2), [1, 2, 3], "numerator's values are a masked array"),
        ([1, 2, 3], [1, math.inf, 3], "finite"),
        ([1, math.nan], [math.nan, 1], "none of 2 values"),
    ],
)
def test_a_ratio_that_is_none_is_refused(numerator, denominator, message):
    with pytest.raises(ValueError, match=message):
        ratio_interval(numerator, denominator)
