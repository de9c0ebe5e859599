import math

import numpy as np
import pytest

from analysis import noise
from analysis.noise import METRICS, MetricSummary, QueryMetrics, image_noise, query_metrics, summarise
from tests.analysis.noise.small import IGNORE

# What is undefined is NaN, and nothing is said about it while it is computed.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def metrics_with(labels, interclass_noise, emptied=None):
    """Metrics of one query per cell with given interclass noise; chance 0.5, everything else 0."""
    count = len(labels)
    columns = dict.fromkeys(METRICS, np.zeros(count))
    noise_values = np.array(interclass_noise, float)
    return QueryMetrics(
        queries=np.arange(count),
        labels=np.array(labels),
        emptied=np.zeros(count, bool) if emptied is None else np.array(emptied),
        **{**columns, "interclass_noise": noise_values, "chance": np.full(count, 0.5)},
    )


def test_macro_and_micro_on_paper():
    # Image 1: class 0 has 2 cells (noise 0.1, 0.3), class 1 has 3 (0.6 each). Image 2: class 0 has 4 cells (0.4 each).
    one = metrics_with([0, 0, 1, 1, 1], [0.1, 0.3, 0.6, 0.6, 0.6])
    two = metrics_with([0, 0, 0, 0, 1], [0.4, 0.4, 0.4, 0.4, 0.9])
    images = [image_noise({"raw": m}, m.labels, 3) for m in (one, two)]
    result = summarise(images, min_cells=2, min_images=1)["raw"]["interclass_noise"]
    # Class 0: (0.2 + 0.4) / 2; class 1: 0.6, its single cell in image 2 is too few.
    assert result.class_means == pytest.approx({0: 0.3, 1: 0.6})
    assert result.mean == pytest.approx(0.45)
    assert result.left_out == {2: 0}
    assert result.micro == pytest.approx((0.1 + 0.3 + 1.8 + 1.6 + 0.9) / 10) and result.queries == 10
    strict = summarise(images, min_cells=2, min_images=2)["raw"]
    assert strict["interclass_noise"].class_means == pytest.approx({0: 0.3})
    assert strict["interclass_noise"].left_out == {1: 1, 2: 0}
    assert noise.times_chance(strict) == pytest.approx(0.3 / 0.5)


def test_defaults_ask_for_five_cells_and_ten_images():
    metrics = metrics_with([0] * 5 + [1] * 4, [0.2] * 9)
    images = [image_noise({"raw": metrics}, metrics.labels, 2)] * 10
    result = summarise(images)["raw"]["interclass_noise"]
    assert result.class_means == pytest.approx({0: 0.2}) and result.left_out == {1: 0}
    few = summarise(images[:9])["raw"]
    assert few["interclass_noise"].mean is None and few["interclass_noise"].left_out == {0: 9, 1: 0}
    assert few["interclass_noise"].micro == pytest.approx(0.2) and noise.times_chance(few) is None


def test_stages_are_compared_on_the_queries_valid_in_all_of_them():
    raw = metrics_with([0, 0, 0], [0.2, 0.4, 0.9])
    rectified = metrics_with([0, 0, 0], [0.1, 0.2, np.nan], emptied=[False, False, True])
    image = image_noise({"raw": raw, "rectified": rectified}, raw.labels, 1)
    assert image.emptied == {"raw": 0, "rectified": 1}
    assert image.left_out["interclass_noise"] == 1 and image.left_out["kept_mass"] == 1
    result = summarise([image], min_cells=1, min_images=1)
    assert result["raw"]["interclass_noise"].mean == pytest.approx(0.3)
    assert result["rectified"]["interclass_noise"].mean == pytest.approx(0.15)
    assert result["raw"]["chance"].queries == 2


def test_chance_is_averaged_over_the_queries_of_the_noise_beside_it():
    metrics = metrics_with([0, 0], [0.2, np.nan])._replace(chance=np.array([0.4, 0.8]))
    result = summarise([image_noise({"raw": metrics}, metrics.labels, 1)], min_cells=1, min_images=1)["raw"]
    assert result["chance"].mean == pytest.approx(0.4)


def test_labels_beyond_the_classes_are_no_class():
    metrics = metrics_with([0, 1, 2, -1], [0.1, 0.2, 0.4, 0.8])
    image = image_noise({"raw": metrics}, metrics.labels, 2)
    assert image.cells.tolist() == [1, 1] and image.left_out["interclass_noise"] == 0
    assert image.sums["raw"]["interclass_noise"].total.tolist() == [0.1, 0.2]


def test_each_metric_is_averaged_over_the_queries_for_which_it_is_defined():
    metrics = metrics_with([0, 0, 0], [0.2, np.nan, 0.4])._replace(hollow_fraction=np.array([np.nan, 0.5, 0.9]))
    image = image_noise({"raw": metrics}, metrics.labels, 1)
    assert image.left_out["hollow_fraction"] == image.left_out["interclass_noise"] == 1
    result = summarise([image], min_cells=1, min_images=1)["raw"]
    assert result["hollow_fraction"].mean == pytest.approx(0.7)
    assert result["interclass_noise"].mean == pytest.approx(0.3)


def test_what_nobody_measured_has_no_mean():
    metrics = metrics_with([0] * 5 + [1] * 5, [0.2] * 5 + [np.nan] * 5)
    image = image_noise({"raw": metrics}, metrics.labels, 2)
    table = noise.class_table([image], "raw", "interclass_noise")
    assert table[0, 0] == pytest.approx(0.2) and np.isnan(table[0, 1])
    nothing = metrics_with([IGNORE], [np.nan])
    result = summarise([image_noise({"raw": nothing}, nothing.labels, 2)], min_images=1)["raw"]
    assert result["interclass_noise"] == (None, None, 0, {}, {0: 0, 1: 0})
    assert noise.times_chance(result) is None


@pytest.mark.parametrize(("noise_mean", "chance_mean"), [(None, 0.5), (0.3, None), (0.3, 0.0)])
def test_times_chance_needs_both_means(noise_mean, chance_mean):
    means = {"interclass_noise": noise_mean, "chance": chance_mean}
    assert noise.times_chance({name: MetricSummary(mean, None, 0, {}, {}) for name, mean in means.items()}) is None


def test_a_split_counts_its_own_queries_but_the_cells_of_the_image():
    metrics = metrics_with([0] * 6 + [IGNORE], [0.1, 0.1, 0.1, 0.5, 0.5, 0.5, np.nan])
    selected = np.array([False] * 3 + [True] * 4)
    image = image_noise({"raw": metrics}, metrics.labels, 1, selected=selected)
    assert image.cells.tolist() == [6] and image.left_out["interclass_noise"] == 0
    assert summarise([image], min_images=1)["raw"]["interclass_noise"].mean == pytest.approx(0.5)


def test_stages_of_different_queries_are_not_compared():
    one, two = metrics_with([0, 0], [0.1, 0.1]), metrics_with([0, 0], [0.1, 0.1])
    with pytest.raises(ValueError, match=r"^stages raw, rectified hold different queries; compare"):
        image_noise({"raw": one, "rectified": two._replace(queries=np.array([1, 0]))}, one.labels, 1)


def test_means_over_whole_images_against_a_plain_loop():
    rng = np.random.default_rng(9)
    images, per_class = [], {}
    for _ in range(12):
        labels = rng.choice([0, 1, 2, IGNORE], 30, p=[0.6, 0.25, 0.1, 0.05])
        metrics = query_metrics(rng.random((30, 30)), labels, np.arange(30), ignore_index=IGNORE)
        images.append(image_noise({"raw": metrics}, labels, 3))
        for c in range(3):
            if (labels == c).sum() >= 5:
                values = [v for v in metrics.interclass_noise[labels == c] if not math.isnan(v)]
                per_class.setdefault(c, []).append(sum(values) / len(values))
    result = summarise(images)["raw"]["interclass_noise"]
    expected = {c: sum(v) / len(v) for c, v in per_class.items() if len(v) >= 10}
    assert result.class_means == pytest.approx(expected)
    assert result.mean == pytest.approx(sum(expected.values()) / len(expected))
    assert result.left_out == {c: len(per_class.get(c, [])) for c in range(3) if c not in expected}
