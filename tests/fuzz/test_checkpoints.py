"""Checkpoints of strangers: cards, headers and weights of any kind; no code in them ever runs."""

import json
import os
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.card.opening import open_checkpoint
from analysis.card.view import overview_row, view_card
from dnl import ModelConfig, build_model
from dnl.checkpoints import CheckpointError, load_reference, load_torchvision_backbone
from tests.fuzz import corpus
from tests.fuzz.guard import cases, result_or_sentence

LIMIT = 10**8


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    return corpus.checkpoint(tmp_path_factory.mktemp("zoo"))


def tried(data: bytes):
    def shown():
        model, card = open_checkpoint(data, "mine.safetensors", most_bytes=LIMIT)
        overview_row(view_card(card))
        return model

    return result_or_sentence("checkpoints", shown, CheckpointError)


def with_card(content: bytes, card: object) -> bytes:
    header, body = corpus.split_safetensors(content)
    text = card.decode("latin-1") if isinstance(card, bytes) else json.dumps(card)
    return corpus.join_safetensors({**header, "__metadata__": {"card": text}}, body)


def card_of(content: bytes) -> dict:
    return json.loads(corpus.split_safetensors(content)[0]["__metadata__"]["card"])


def test_the_whole_file_is_opened(content):
    assert tried(content)


@given(st.data())
@cases(15)
def test_spoilt_files(content, data):
    tried(data.draw(corpus.spoilt([content])))


@given(st.data())
@cases(30)
def test_cards_of_any_kind(content, data):
    tried(with_card(content, data.draw(corpus.altered(card_of(content)) | corpus.JSON_TEXTS)))


@given(st.data())
@cases(15)
def test_configurations_of_any_kind(content, data):
    card = card_of(content)
    part = data.draw(st.sampled_from(["config", "label_set", "metrics"]))
    tried(with_card(content, card | {part: data.draw(corpus.altered(card[part]))}))


@given(st.data())
@cases(15)
def test_headers_of_any_kind(content, data):
    header, body = corpus.split_safetensors(content)
    name = data.draw(st.sampled_from(list(header)[1:]))
    entry = data.draw(corpus.altered(header[name]) | corpus.JSON)
    tried(corpus.join_safetensors({**header, name: entry}, body))


@pytest.mark.parametrize("length", [0, 1, 7, 2**31, 2**62, 2**63, 2**64 - 1])
def test_lengths_of_the_header(content, length):
    header, body = corpus.split_safetensors(content)
    assert tried(corpus.join_safetensors(header, body, length)) is None


def test_tensors_that_overlap(content):
    header, body = corpus.split_safetensors(content)
    names = list(header)[1:]
    header[names[1]] = header[names[0]]
    assert tried(corpus.join_safetensors(header, body)) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["context.gamma", "head.4.weight", "backbone.stem.1.running_var"])
def test_weights_that_are_no_numbers(content, key, value):
    state = safetensors.torch.load(content)
    state[key] = torch.full_like(state[key], value)
    assert tried(with_card(safetensors.torch.save(state, {"card": ""}), card_of(content))) is None


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("backbone.stem.1.running_var", lambda tensor: -torch.ones_like(tensor)),
        ("head.4.weight", lambda tensor: tensor.double() * 1e300),
        ("context.gamma", lambda tensor: tensor.to(torch.complex64)),
    ],
)
def test_weights_that_a_network_cannot_have(content, key, change):
    state = safetensors.torch.load(content)
    state[key] = change(state[key])
    assert tried(with_card(safetensors.torch.save(state, {"card": ""}), card_of(content))) is None


def test_a_card_of_a_huge_network_takes_no_memory(content):
    card = card_of(content)
    card["config"] |= {"backbone": "resnet101", "width": 256}
    assert tried(with_card(content, card)) is None


@pytest.mark.parametrize("name", corpus.HOSTILE_NAMES)
def test_hostile_names_are_kept_as_text(content, name):
    card = card_of(content)
    card["name"] = name
    card["label_set"]["class_names"][0] = name
    assert tried(with_card(content, card)).label_set.class_names[0] == name


# --- pickles ---------------------------------------------------------------------------------------------------------


class Runs:
    """An object whose unpickling calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def pickles(mark: str) -> dict:
    """Objects whose unpickling would make a file `mark`."""
    return {
        "open": Runs(open, mark, "w"),
        "system": Runs(os.system, f"touch {mark}"),
        "exec": Runs(exec, f"open({mark!r}, 'w')"),
        "mkdir": Runs(os.mkdir, mark),
        "nested": {"state_dict": {"conv1.weight": Runs(open, mark, "w")}},
        "load": Runs(torch.load, mark),
    }


@pytest.mark.parametrize("kind", list(pickles("")))
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("load", [load_torchvision_backbone, load_reference])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, kind, wrapped, load):
    payload = pickles(str(tmp_path / "ran"))[kind]
    path = tmp_path / "evil.pth"
    if wrapped:
        torch.save(payload, path)
    else:
        path.write_bytes(pickle.dumps(payload, protocol=2))
    assert not (tmp_path / "ran").exists()
    model = build_model(ModelConfig("resnet18", 8, deep_stem=False))
    assert result_or_sentence("pickles", lambda: load(path, model) or True, CheckpointError) is None
    assert not (tmp_path / "ran").exists()


def test_every_kind_of_pickle_would_have_run(tmp_path):
    """What the tests above refuse is no dud."""
    for kind in ("open", "exec", "mkdir", "system"):
        mark = tmp_path / kind
        pickle.loads(pickle.dumps(pickles(str(mark))[kind]))
        assert mark.exists()


@given(st.data())
@cases(20)
def test_spoilt_weights_in_the_old_format(content, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "weights.pth"
    torch.save({"conv1.weight": torch.ones(3)}, path)
    path.write_bytes(data.draw(corpus.spoilt([path.read_bytes()])))
    model = build_model(ModelConfig("resnet18", 8, deep_stem=False))
    result_or_sentence("pickles", lambda: load_torchvision_backbone(path, model), CheckpointError)
