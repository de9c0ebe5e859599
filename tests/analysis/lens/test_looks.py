"""What is known of a look, whatever comes."""

import math

import pytest

from analysis.lens import FIRST_LOOK, LOOKS, known_look
from analysis.lens.looks import Between, OneOf


def test_the_first_look_has_a_known_value_for_every_entry():
    assert list(FIRST_LOOK) == list(LOOKS) and known_look(FIRST_LOOK) == FIRST_LOOK


@pytest.mark.parametrize("value", [3, 3.0, 7])
def test_a_number_is_known_however_it_is_written(value):
    assert OneOf((3, 5, 7))(value)


@pytest.mark.parametrize("value", [4, "3", True, None, math.nan, [3], {3: 3}])
def test_nothing_else_is_one_of_the_numbers(value):
    assert not OneOf((3, 5, 7))(value)


@pytest.mark.parametrize("value", [1, 0, "true", None, 1.0])
def test_a_switch_is_true_or_false_alone(value):
    switch = OneOf((False, True))
    assert switch(True) and switch(False) and not switch(value)


@pytest.mark.parametrize(("value", "known"), [(90, True), (100.0, True), (89.9, False), (100.1, False), ("95", False)])
def test_a_range_holds_its_ends(value, known):
    assert Between(90, 100)(value) is known


@pytest.mark.parametrize("value", [math.nan, math.inf, True, None, [0.5]])
def test_what_is_no_finite_number_is_in_no_range(value):
    assert not Between(0, 1)(value)


@pytest.mark.parametrize("look", [None, [], "share", {"scale": "no", "strange": 1, 3: 4}])
def test_nonsense_is_no_look(look):
    assert known_look(look) == {}
