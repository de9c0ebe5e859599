"""Figures of repeated runs as tables."""

import statistics

import pytest

from dnl.tables import Column, markdown_table, mean_and_spread


def test_tables_by_hand():
    assert mean_and_spread([0.5, None, 0.75]) == {
        "mean": 0.625,
        "sd": pytest.approx(statistics.stdev([0.5, 0.75])),
        "values": [0.5, 0.75],
    }
    assert mean_and_spread([0.5]) == {"mean": 0.5, "sd": None, "values": [0.5]}
    assert mean_and_spread([None, None]) is None
    columns = [Column("miou", "mIoU", 2, spread=True), Column("gamma", "γ", 3), Column("noise", "noise", 1)]
    rows = [
        {"variant": "fcn", "seeds": [0], "miou": mean_and_spread([0.5]), "gamma": None, "noise": None},
        {
            "variant": "nl",
            "seeds": [0, 1],
            "miou": mean_and_spread([0.5, 0.7]),
            "gamma": mean_and_spread([0.1, 0.3]),
            "noise": None,
        },
    ]
    assert markdown_table(rows, columns).splitlines() == [
        "| network | seeds | mIoU | γ |",
        "| --- | --- | --- | --- |",
        "| fcn | 1 | 0.50 | – |",
        "| nl | 2 | 0.60 ± 0.14 | 0.200 |",
    ]
