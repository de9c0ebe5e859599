"""Where images come from: patterns of names, and how none can run for minutes."""

import pytest

from dnl.datasets.camvid import camvid_origin
from dnl.datasets.cityscapes import cityscapes_origins
from dnl.datasets.groups import Origin, compile_groups, group_sizes, in_natural_order, origins_by


def test_groups_are_counted_in_the_order_in_which_they_come():
    origins = [Origin("b"), Origin("a"), Origin(None), Origin("b")]
    assert list(group_sizes(origins).items()) == [("b", 2), ("a", 1)]


def test_places_in_a_group_follow_the_numbers_in_names():
    names, groups = ("f10", "f9", "f9b", "x2", "x10"), ("f", "f", "f", "x", "x")
    assert in_natural_order(names, groups) == [
        Origin("f", 2), Origin("f", 0), Origin("f", 1), Origin("x", 0), Origin("x", 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("0016E5_07959", Origin("0016E5", 7959)),
        ("0006R0_f00930", Origin("0006R0", 930)),
        ("Seq05VD_f00000", Origin("Seq05VD", 0)),
        ("0001TP_006690_L", Origin("0001TP", 6690)),
        ("a_1", Origin("unknown drive", None)),
        ("0016E5_", Origin("unknown drive", None)),
        ("x0016E5_07959", Origin("unknown drive", None)),
    ],
)
def test_camvid_names_hold_drive_and_frame(name, origin):
    assert camvid_origin(name) == origin


def test_cityscapes_names_hold_city_sequence_and_frame():
    names, cities = ["ulm_000001_000019", "ulm_000000_000576"], ["ulm", "ulm"]
    assert cityscapes_origins(names, cities) == [Origin("ulm", 1_000_019), Origin("ulm", 576)]
    assert cityscapes_origins(["ulm_10", "ulm_9"], cities) == [Origin("ulm", 1), Origin("ulm", 0)]


def test_a_pattern_gives_group_and_place():
    pattern = compile_groups(r"(?P<group>\d{4}[A-Za-z0-9]{2}|Seq\d{2}VD)_f?(?P<place>\d+)(?:_L)?")
    assert origins_by(pattern, ["0016E5_07959", "Seq05VD_f00003_L"]) == [Origin("0016E5", 7959), Origin("Seq05VD", 3)]
    assert origins_by(compile_groups("(?P<group>.)-.*"), ["a-2", "b-1", "a-10"]) == [
        Origin("a", 0), Origin("b", 0), Origin("a", 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a-1", "b2", "c"], "does not match 'b2'"),
        (["-1"], "does not match '-1', or finds no group"),  # an empty group is none
        (["a-x"], "its place in 'a-x' is 'x'"),
        (["a-" + "1" * 19], "at most 18 digits"),
    ],
)
def test_names_that_a_pattern_does_not_fit_are_said(names, words):
    with pytest.raises(ValueError, match=words):
        origins_by(compile_groups("(?P<group>[a-z]*)-(?P<place>.+)"), names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (5, "must be text"),
        ("", "must be text"),
        ("(?P<group>" + "a" * 200 + ")", "must be text of 1 … 200"),
        (r"\d+_(.*)", r"no part \(\?P<group>"),
        ("(?P<group>a", "no regular expression"),
        ("(?P<group>[a-)", "no regular expression"),
        ("(?P<group>(a+)+b)", r"repeats a part in \(…\) by '\+'"),
        ("(?P<group>(a|aa){20})", r"repeats a part in \(…\) by '\{20\}'"),
        ("(?P<group>(?:a?){3,})", "repeats a part"),
        (r"(?P<group>a)\1", "looks back"),
        ("(?P<group>a)(?P=group)", r"brackets may be"),
        ("(?=a)(?P<group>a)", "brackets may be"),
        ("(?i)(?P<group>a)", "brackets may be"),
        ("(?P<group>.*.*.*.*x)", "repeats 4 parts"),
        ("(?P<group>a?a?a?a?a?aaaaa)", "has 5 options"),
        ("(?P<group>(a|a)(a|a)(a|a)(a|a)(a|a)b)", "has 5 options"),
        ("(?P<group>a{2}{3})", "no regular expression"),
    ],
)
def test_patterns_that_cannot_be_used_are_refused(text, words):
    with pytest.raises(ValueError, match=words):
        compile_groups(text)
