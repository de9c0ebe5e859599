import dataclasses
from types import SimpleNamespace

import pytest

from analysis.options import CONTROLS, GATES, OPTION_NAMES, STAGES, MapOptions, option_cells, own_stages, stages_there
from dnl import attention

OWNER = SimpleNamespace(gate="binary", lr_kernel=5, lr_weights="box")


def test_the_gates_are_the_networks_and_the_oracle():
    assert GATES == (*attention.GATES, "oracle")
    assert not {*STAGES} & {*CONTROLS}


def test_model_is_what_the_owner_has():
    assert MapOptions().of(OWNER) == MapOptions("binary", 5, "box", 1.0)
    own = MapOptions(None, 3, "learnt", 0.5)
    assert own.of(OWNER) == own
    without = SimpleNamespace(gate=None, lr_kernel=None, lr_weights="learnt")
    assert MapOptions(temperature=2.0).of(without) == MapOptions(None, None, "learnt", 2.0)


def test_what_else_options_hold_is_left_out_of_theirs():
    @dataclasses.dataclass(frozen=True)
    class More(MapOptions):
        labels: str = "truth"

    assert More(gate="oracle").of(OWNER) == MapOptions("oracle", 5, "box", 1.0)
    assert list(More().as_dict()) == list(OPTION_NAMES) == ["gate", "lr_kernel", "lr_weights", "temperature"]


def test_there_are_the_stages_of_gr_and_lr_where_there_are_gr_and_lr():
    assert stages_there(MapOptions("sigmoid", 3)) == STAGES
    assert stages_there(MapOptions("oracle", None)) == ("raw", "rectified")
    assert stages_there(MapOptions(None, 1, "box")) == ("raw", "retained")
    assert stages_there(MapOptions(None, None)) == ("raw",)
    assert own_stages(("uniform", "retained", "raw")) == ("raw", "retained")


@pytest.mark.parametrize(
    ("options", "cells"),
    [
        (MapOptions("sigmoid", 3, "learnt", 2.0), ("sigmoid", 3, "learnt", 2.0)),
        (MapOptions(None, None, "learnt", 1.0), ("none", "none", "none", 1.0)),
    ],
)
def test_a_table_says_none_where_there_is_none(options, cells):
    assert tuple(option_cells(options.as_dict()).values()) == cells
