import dataclasses
import json

import numpy as np
import pytest

from analysis import noise
from analysis.intervals import holm, mean_interval, paired_test, ratio_interval
from analysis.measure import GROUP_METRICS, SPLITS, checkpoint_differences, data_set_summary, image_record, least_images
from analysis.measure.data_set import METRICS
from analysis.measure.tables import Tables
from analysis.options import CONTROLS, STAGES
from tests.analysis.measure.small import CELLS, CLASSES, EVERY, IGNORE, make_report, summary_of


@pytest.fixture(scope="module")
def reports():
    return [make_report(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def records(reports):
    return [image_record(report) for report in reports]


def values_of(report, stage, metric):
    holder = report.detection if metric in ("auc", "average_precision") else report.stages
    return getattr(holder[stage], metric)


def slow_table(reports, stage, metric, *, min_cells, compared=STAGES, selected=lambda report: np.ones(15, bool)):
    """Mean per image and class, query by query."""
    table = np.full((len(reports), 4), np.nan)
    for image, report in enumerate(reports):
        for label in range(4):
            if (report.labels == label).sum() < min_cells:
                continue
            values = [
                values_of(report, stage, metric)[query]
                for query in EVERY
                if report.labels.flat[query] == label
                and selected(report)[query]
                and not any(report.stages[name].emptied[query] for name in compared)
                and all(np.isfinite(values_of(report, name, metric)[query]) for name in compared)
            ]
            if values:
                table[image, label] = sum(values) / len(values)
    return table


def slow_macro(table, min_images):
    means = [
        np.mean([value for value in column if np.isfinite(value)])
        for column in table.T
        if np.isfinite(column).sum() >= min_images
    ]
    return np.mean(means)


def test_macro_means_agree_with_a_slow_version(reports, records):
    summary = summary_of(records)
    for stage in STAGES:
        for metric in METRICS:
            expected = slow_macro(slow_table(reports, stage, metric, min_cells=2), 2)
            assert summary["stages"][stage][metric]["mean"] == pytest.approx(expected, abs=1e-12), (stage, metric)


def test_macro_means_agree_with_the_summary_of_the_noise_module(reports, records):
    images = [noise.image_noise({s: r.stages[s] for s in STAGES}, r.labels, 4) for r in reports]
    expected = noise.summarise(images, min_cells=2, min_images=2)
    summary = summary_of(records)
    for stage in STAGES:
        for metric in noise.METRICS:
            if metric == "chance":
                continue
            block = summary["stages"][stage][metric]
            assert block["mean"] == pytest.approx(expected[stage][metric].mean)
            assert block["micro"] == pytest.approx(expected[stage][metric].micro)
            means = {CLASSES.index(name): entry["mean"] for name, entry in block["per_class"].items()}
            assert means == pytest.approx(expected[stage][metric].class_means)
        interclass = summary["stages"][stage]["interclass_noise"]
        assert interclass["chance"] == pytest.approx(expected[stage]["chance"].mean)
        assert interclass["times_chance"] == pytest.approx(noise.times_chance(expected[stage]))
    assert summary["left_out"]["interclass_noise"] == sum(image.left_out["interclass_noise"] for image in images)


@pytest.mark.parametrize("split", SPLITS[1:])
def test_splits_hold_their_queries_alone(reports, records, split):
    selected = {
        "boundary": lambda report: report.boundary,
        "interior": lambda report: ~report.boundary,
        "gr_right": lambda report: report.gr_right,
        "gr_wrong": lambda report: ~report.gr_right,
    }[split]
    table = slow_table(reports, "retained", "interclass_noise", min_cells=2, selected=selected)
    block = summary_of(records)["stages"]["retained"]["interclass_noise"][split]
    assert block["mean"] == pytest.approx(slow_macro(table, 2))
    assert block["low"] <= block["high"]


def test_intervals_are_those_of_the_tables(reports, records):
    table = slow_table(reports, "raw", "hollow_fraction", min_cells=2)
    shown = [column for column in range(4) if np.isfinite(table[:, column]).sum() >= 2]
    assert np.isnan(table[:, shown]).any()
    block = summary_of(records)["stages"]["raw"]["hollow_fraction"]
    expected = mean_interval(table[:, shown])
    assert (block["low"], block["high"]) == pytest.approx((expected.low, expected.high))
    assert set(block["per_class"]) == {CLASSES[column] for column in shown}
    for column in shown:
        entry, expected = block["per_class"][CLASSES[column]], mean_interval(table[:, column])
        assert entry["images"] == expected.images == np.isfinite(table[:, column]).sum()
        if expected.low is None:
            assert entry["low"] is None and entry["high"] is None
        else:
            limits = max(expected.low, 0), min(expected.high, 1)  # a share
            assert (entry["low"], entry["high"]) == pytest.approx(limits)


def test_times_chance_has_the_interval_of_a_ratio(reports, records):
    table, chance = (slow_table(reports, "raw", metric, min_cells=2) for metric in ("interclass_noise", "chance"))
    shown = np.isfinite(table).sum(axis=0) >= 2
    expected = ratio_interval(table[:, shown], np.where(np.isfinite(table), chance, np.nan)[:, shown])
    block = summary_of(records)["stages"]["raw"]["interclass_noise"]
    assert block["times_chance"] == pytest.approx(block["mean"] / block["chance"])
    assert (block["times_chance_low"], block["times_chance_high"]) == pytest.approx((expected.low, expected.high))


# --- groups ----------------------------------------------------------------------------------------------------------


def placed(records, groups, places=None):
    places = places or [None] * len(groups)
    return [
        dataclasses.replace(record, group=group, place=place)
        for record, group, place in zip(records, groups, places, strict=True)
    ]


def test_a_group_has_the_figures_of_a_summary_of_itself(records):
    summary = summary_of(placed(records, ["b", "a", "b", "b", "a", None]), min_images=1)
    assert list(summary["groups"]) == ["b", "a"]
    alone = summary_of([records[index] for index in (0, 2, 3)], min_images=1)
    for stage, figures in summary["groups"]["b"]["stages"].items():
        for metric in GROUP_METRICS:
            assert figures[metric]["mean"] == pytest.approx(alone["stages"][stage][metric]["mean"])
        times = alone["stages"][stage]["interclass_noise"]["times_chance"]
        assert figures["interclass_noise"]["times_chance"] == pytest.approx(times)
        assert figures["interclass_noise"]["low"] is None  # three images of one sequence tell nothing of it
    assert [block["images"] for block in summary["groups"].values()] == [3, 2]


def test_images_of_groups_are_not_taken_as_independent(reports, records):
    groups = ["a", "a", "b", "b", "c", "c"]
    table = slow_table(reports, "raw", "interclass_noise", min_cells=2)
    shown = np.isfinite(table).sum(axis=0) >= 2
    summary = summary_of(placed(records, groups))
    block, expected = summary["stages"]["raw"]["interclass_noise"], mean_interval(table[:, shown], groups)
    assert (block["low"], block["high"]) == pytest.approx((max(expected.low, 0), min(expected.high, 1)))
    facts = summary["intervals"]
    assert (facts["method"], facts["groups"]) == ("Student's t over 3 groups", 3)
    assert facts["speaks_of"] == "groups like these" and facts["effective_images"] <= 6
    independent = summary_of(records)
    assert independent["intervals"]["groups"] is None and independent["groups"] == {}


def test_one_sequence_is_cut_into_blocks_in_the_order_of_places(records):
    many = [records[index % 6] for index in range(40)]  # the same few images again and again
    places = list(np.random.default_rng(0).permutation(40))
    tables = Tables(many, 4, 2)
    table = tables.table("all", "raw", "interclass_noise")
    shown = np.isfinite(table).sum(axis=0) >= 2
    summary = summary_of(placed(many, ["0016E5"] * 40, [int(place) for place in places]))
    expected = mean_interval(table[:, shown], ["0016E5"] * 40, places)
    block = summary["stages"]["raw"]["interclass_noise"]
    assert (block["low"], block["high"]) == pytest.approx((expected.low, expected.high))
    assert expected != mean_interval(table[:, shown], ["0016E5"] * 40)
    assert summary["intervals"]["speaks_of"] == "this one sequence"


def test_too_few_images_have_no_interval_but_a_reason(records):
    facts = summary_of(records[:2], min_images=1)["intervals"]
    assert (facts["method"], facts["reason"]) == ("none", "2 images: an interval needs 3")
    facts = summary_of(placed(records, ["a"] * 6), min_images=1)["intervals"]
    assert facts["reason"].startswith("6 images of one sequence")
    assert summary_of(records, min_images=7)["intervals"]["reason"] == "no class has enough images for a mean"


def test_differences_are_paired_by_image(reports, records):
    tables = [slow_table(reports, stage, "top_mass", min_cells=2) for stage in ("retained", "raw")]
    paired = tables[0] - tables[1]
    summary = summary_of(records)
    block = summary["differences"]["retained - raw"]["top_mass"]
    assert block["mean"] == pytest.approx(slow_macro(paired, 2))
    means = {stage: summary["stages"][stage]["top_mass"]["mean"] for stage in ("retained", "raw")}
    assert block["mean"] == pytest.approx(means["retained"] - means["raw"])
    # The same images are drawn on both sides: a stage minus itself has no spread, however much images differ.
    same = checkpoint_differences({"a": records, "b": records}, 4, min_cells=2, min_images=2)
    assert same["b - a"]["stages"]["raw"]["top_mass"] == {"mean": 0, "low": 0, "high": 0}


def test_differences_of_noise_are_tested_and_each_class_is_corrected_for_their_number(reports, records):
    raw, retained = (slow_table(reports, stage, "interclass_noise", min_cells=2) for stage in ("raw", "retained"))
    block = summary_of(records)["differences"]["retained - raw"]["interclass_noise"]
    shown = np.isfinite(retained - raw).sum(axis=0) >= 2
    tested = paired_test(raw[:, shown], retained[:, shown])
    assert block["p"] == tested.p and block["test"] == tested.method == "all sign flips of 6 images"
    assert block["least_p"] == 2 / 64 and block["effect"] == pytest.approx(tested.effect)
    own = [entry["p"] for entry in block["per_class"].values()]
    assert [entry["p_holm"] for entry in block["per_class"].values()] == holm(own)
    for name, entry in block["per_class"].items():
        column = CLASSES.index(name)
        assert entry["p"] == paired_test(raw[:, column], retained[:, column]).p
        assert entry["images"] == np.isfinite(raw[:, column]).sum()
    json.dumps(block, allow_nan=False)


def test_checkpoints_are_compared_on_the_images_of_both(reports, records):
    others = [make_report(seed + 100, name=f"image-{seed}") for seed in (4, 2, 3)]
    tables = [
        slow_table(own, "raw", "kept_mass", min_cells=1)
        for own in ([reports[seed] for seed in (2, 3, 4)], [others[place] for place in (1, 2, 0)])
    ]
    records_of = {"a": records, "b": [image_record(report) for report in others]}
    block = checkpoint_differences(records_of, 4, min_cells=1, min_images=1)["b - a"]
    assert block["images"] == 3
    entry = block["stages"]["raw"]["kept_mass"]
    assert entry["mean"] == pytest.approx(slow_macro(tables[1] - tables[0], 1))
    assert entry["low"] <= entry["high"]
    nothing = checkpoint_differences({"a": records[:1], "b": records[1:2]}, 4)
    assert nothing["b - a"] == {"images": 0, "stages": {}}


def test_the_hollow_curve_meets_the_hollow_fraction(reports, records):
    summary = summary_of(records)
    place = summary["hollow_curve"]["thresholds"].index(0.25)
    for stage in STAGES:
        curve = summary["hollow_curve"]["stages"][stage]
        assert curve[place] == pytest.approx(summary["stages"][stage]["hollow_fraction"]["mean"], abs=1e-6)
        assert curve == sorted(curve)


def test_leakage_is_the_sum_over_images(reports, records):
    total = sum(report.leakage["retained"].total for report in reports)
    queries = sum(report.leakage["retained"].queries for report in reports)
    matrix = summary_of(records)["leakage"]["retained"]
    assert matrix[3] is None  # no image shows a tree
    for label in range(3):
        assert matrix[label] == pytest.approx(list(total[label] / queries[label]))
        assert sum(matrix[label]) == pytest.approx(1)


def test_one_image_has_means_and_no_intervals(records):
    block = summary_of(records[:1], min_images=1)["stages"]["raw"]["interclass_noise"]
    assert block["mean"] is not None and block["low"] is None and block["high"] is None
    assert all(entry["images"] == 1 and entry["low"] is None for entry in block["per_class"].values())


def test_too_few_images_leave_classes_out(records):
    summary = summary_of(records, min_images=7)
    assert summary["stages"]["raw"]["interclass_noise"]["mean"] is None
    assert summary["stages"]["raw"]["interclass_noise"]["micro"] is not None
    assert summary["classes_left_out"].keys() == set(CLASSES) and summary["classes_left_out"]["tree"] == 0
    assert summary["differences"]["retained - raw"]["auc"] == {"mean": None, "low": None, "high": None}
    assert summary["limits"] == {"min_cells": 2, "min_images": 7}


def test_without_detection_its_figures_are_null(reports):
    summary = summary_of([image_record(report._replace(detection={})) for report in reports])
    assert summary["stages"]["raw"]["auc"]["mean"] is None
    assert summary["stages"]["raw"]["auc"]["micro"] is None
    assert summary["detection"] == {"queries": 0, "sampled": False}


def test_without_class_probs_gr_is_neither_right_nor_wrong(reports):
    summary = summary_of([image_record(report._replace(gr_right=None)) for report in reports])
    assert summary["stages"]["raw"]["interclass_noise"]["gr_right"]["mean"] is None
    assert summary["stages"]["raw"]["interclass_noise"]["boundary"]["mean"] is not None


def test_summaries_are_json_without_nan(records):
    one_class = image_record(make_report(0, labels=np.zeros(CELLS, np.int64)))
    for own in (records, [one_class]):
        text = json.dumps(summary_of(own, min_images=1), allow_nan=False)
        assert json.loads(text)["images"] == len(own)


def test_counts_of_the_whole(reports, records):
    summary = summary_of(records)
    assert summary["images"] == 6
    assert summary["queries"] == sum((report.labels != IGNORE).sum() for report in reports)
    keys = np.concatenate([report.stages["raw"].effective_keys for report in reports])
    assert summary["effective_keys"] == pytest.approx(np.nanmedian(keys))
    assert summary["query_dependence"] == pytest.approx(np.mean([report.query_dependence for report in reports]))
    assert list(summary["stages"]) == [*STAGES, *CONTROLS]


def test_the_same_seed_gives_the_same_summary(records):
    assert summary_of(records) == summary_of(records)
    assert summary_of(records, seed=2)["intervals"]["seed"] == 2


def test_small_sets_ask_for_one_image_a_class():
    assert [least_images(images) for images in (1, 9, 10, 500)] == [1, 1, 10, 10]


def test_no_record_is_an_error():
    with pytest.raises(ValueError, match="no image to summarise"):
        data_set_summary([], CLASSES)
