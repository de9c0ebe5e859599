"""Cards: what in them does not fit is said, whatever it is."""

import json
import struct
from pathlib import Path

import pytest

from dnl.checkpoints.card import MAX_HEADER_BYTES, CheckpointError, card_in, differing_classes, label_set_of
from dnl.classes import CAMVID

FILE = Path("some/model.safetensors")
LABELS = {"name": "two", "class_names": ["a", "b"], "palette": [[0, 0, 0], [9, 9, 9]], "ignore_index": 255}


def beginning(metadata):
    """The beginning of a safetensors file with this metadata."""
    header = json.dumps({"__metadata__": metadata}).encode()
    return struct.pack("<Q", len(header)) + header


def test_a_card_is_read_from_the_header():
    card = {"config": {"num_classes": 2}, "name": "ä"}
    assert card_in(beginning({"card": json.dumps(card)}), FILE) == card


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "model.safetensors is empty"),
        (b"\x80\x02" + bytes(6) + b'{"a', "its header is longer than the file"),  # a length that begins like a pickle
        (struct.pack("<Q", 50) + b"{}", "its header is longer than the file"),
        (struct.pack("<Q", MAX_HEADER_BYTES + 1) + bytes(MAX_HEADER_BYTES + 1), "far too long"),
        (struct.pack("<Q", 2) + b"[]", "is not a readable safetensors file"),
        (beginning({}), "carries no card"),
        (beginning({"card": "{"}), "the card in model.safetensors is not valid JSON"),
        (beginning({"card": "{}"}), 'holds no object "config"'),
    ],
)
def test_a_header_without_a_card_of_use_is_told(content, message):
    with pytest.raises(CheckpointError, match=message):
        card_in(content, FILE)


def test_the_label_set_of_a_card():
    label_set = label_set_of({"config": {"num_classes": 2}, "label_set": LABELS})
    assert (label_set.name, label_set.class_names, label_set.palette[1]) == ("two", ("a", "b"), (9, 9, 9))
    fields = {"name": "camvid", "class_names": list(CAMVID.class_names), "palette": [list(c) for c in CAMVID.palette]}
    card = {"config": {"num_classes": 11}, "label_set": fields | {"ignore_index": 11}}
    assert label_set_of(card).palette == CAMVID.palette


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"class_names": "ab"}, "the names of its label set must be texts"),
        ({"class_names": ["a", ""]}, "the names of its label set must be texts"),
        ({"class_names": ["a", "a"]}, "one class name twice"),
        ({"palette": [[0, 0, 0], [0, 0, 256]]}, r"its palette must hold \[red, green, blue\]"),
        ({"ignore_index": True}, "its ignore index is True"),
        ({"class_names": ["a", "b", "c"], "palette": [[0, 0, 0]] * 3}, "3 class names for 2 classes"),
    ],
)
def test_a_label_set_that_does_not_fit_is_told(changed, message):
    with pytest.raises(ValueError, match=message):
        label_set_of({"config": {"num_classes": 2}, "label_set": LABELS | changed})
    with pytest.raises(ValueError, match="names no label set"):
        label_set_of({"config": {"num_classes": 2}})


@pytest.mark.parametrize(
    ("known", "given", "words"),
    [
        ("ab", "ba", "the same classes in another order, class 0 is 'a' in the first, 'b' in the second"),
        ("abc", "abd", "class 2 is 'c' in the first, 'd' in the second"),
        ("abc", "ab", "3 classes in the first, 2 in the second"),
    ],
)
def test_how_two_lists_of_classes_differ(known, given, words):
    assert differing_classes(tuple(known), tuple(given)) == words
