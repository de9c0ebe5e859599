import dataclasses

import numpy as np
import pytest

from analysis.measure import data_set_summary, image_record
from analysis.measure.pooling import network_spread, pooled
from tests.analysis.measure.small import CLASSES, make_report


@pytest.fixture(scope="module")
def networks():
    """Two networks' records of the same three images, with the same labels."""
    first = [image_record(make_report(seed, name=f"image-{seed}")) for seed in range(3)]
    second = [
        dataclasses.replace(record, totals=record.totals * 0.5, query_dependence=0.25, distinct_argmax_keys=3)
        for record in first
    ]
    return {"one": first, "two": second}


def macro(records):
    summary = data_set_summary(records, CLASSES, min_cells=1, min_images=1)
    return summary["stages"]["raw"]["interclass_noise"]["mean"]


def test_the_figures_of_networks_taken_as_one_are_those_of_all_their_queries(networks):
    together = [pooled(records) for records in zip(*networks.values(), strict=True)]
    assert macro(together) == pytest.approx((macro(networks["one"]) + macro(networks["two"])) / 2)
    assert together[0].queries == 2 * networks["one"][0].queries
    assert together[0].query_dependence == (networks["one"][0].query_dependence + 0.25) / 2
    np.testing.assert_array_equal(together[0].cells, networks["one"][0].cells)
    np.testing.assert_array_equal(together[0].counts, 2 * networks["one"][0].counts)


def test_one_network_pooled_is_itself(networks):
    [record, *_] = networks["one"]
    alone = pooled([record])
    for field in dataclasses.fields(record):
        np.testing.assert_equal(getattr(alone, field.name), getattr(record, field.name))


def test_what_is_not_of_the_same_image_is_refused(networks):
    first, second, _ = networks["one"]
    with pytest.raises(ValueError, match="name is 'image-0' for one network and 'image-1' for another"):
        pooled([first, second])
    other = dataclasses.replace(first, cells=first.cells + 1)
    with pytest.raises(ValueError, match="image-0 has other labels"):
        pooled([first, other])


def test_how_far_networks_differ_is_their_means_standard_deviation(networks):
    spread = network_spread(networks, len(CLASSES), min_cells=1, min_images=1)["raw"]["interclass_noise"]
    assert spread["networks"] == {name: pytest.approx(macro(records)) for name, records in networks.items()}
    first, second = spread["networks"].values()
    assert spread["deviation"] == pytest.approx(abs(first - second) / np.sqrt(2))
    nothing = network_spread(networks, len(CLASSES), min_cells=1, min_images=9)["raw"]["interclass_noise"]
    assert nothing == {"networks": {"one": None, "two": None}, "deviation": None}
