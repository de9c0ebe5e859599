import json

import pytest
import safetensors.torch
import torch

from analysis.card.opening import LARGEST_LR_KERNEL, open_checkpoint
from dnl import ModelConfig, build_model
from dnl.checkpoints import CheckpointError, save_checkpoint
from dnl.classes import CAMVID

LIMIT = 10**8


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    torch.manual_seed(0)
    model = build_model(ModelConfig("resnet18", 8, 11, attention_stride=8))
    model.label_set = CAMVID
    path = tmp_path_factory.mktemp("zoo") / "small.safetensors"
    save_checkpoint(path, model, {"name": "small", "metrics": {"gamma": 0.5}})
    return path.read_bytes()


def with_card(content: bytes, change) -> bytes:
    length = int.from_bytes(content[:8], "little")
    card = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["card"])
    change(card)
    return safetensors.torch.save(safetensors.torch.load(content), {"card": json.dumps(card)})


def test_a_checkpoint_opens_as_it_was_saved(content):
    model, card = open_checkpoint(content, "mine.safetensors", most_bytes=LIMIT)
    assert card["name"] == "small" and model.label_set == CAMVID and not model.training
    weights = safetensors.torch.load(content)
    assert torch.equal(model.state_dict()["context.query.weight"], weights["context.query.weight"].float())


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda content: content[:3000], "mine.safetensors is not a readable safetensors file"),
        (lambda content: b"", "mine.safetensors is empty"),
        (lambda content: b"PK\x03\x04" + bytes(200), "mine.safetensors is a zip archive"),
        (lambda content: safetensors.torch.save({"x": torch.zeros(3)}), "carries no card"),
        (lambda content: with_card(content, lambda card: card.update(config={})), "11 class names for None"),
        (lambda content: with_card(content, lambda card: card["config"].update(width=128)), "does not fit the network"),
        (lambda content: with_card(content, lambda card: card["config"].update(width=8 * 10**9)), "does not describe"),
        (lambda content: with_card(content, lambda card: card["config"].update(width="wide")), "does not describe"),
        (lambda content: with_card(content, lambda card: card["config"].update(lr_kernel=9999)), "LR window of 9999"),
        (
            lambda content: with_card(content, lambda card: card["config"].update(context="fcn")),
            "unexpected context",
        ),
        (lambda content: with_card(content, lambda card: card.update(metrics={"attention": 3})), "another form"),
    ],
)
def test_what_is_no_checkpoint_gets_one_sentence(content, broken, reason):
    with pytest.raises(CheckpointError, match=reason) as error:
        open_checkpoint(broken(content), "mine.safetensors", most_bytes=LIMIT)
    assert "\n" not in str(error.value)


def test_the_largest_window_still_opens(content):
    window = with_card(content, lambda card: card["config"].update(lr_kernel=LARGEST_LR_KERNEL))
    model, _ = open_checkpoint(window, "mine.safetensors", most_bytes=LIMIT)
    assert model.context.lr_kernel == LARGEST_LR_KERNEL


def test_a_file_above_the_limit_is_not_opened(content):
    with pytest.raises(CheckpointError, match=r"and at most .* MB can be opened"):
        open_checkpoint(content, "mine.safetensors", most_bytes=len(content) - 1)


@pytest.mark.parametrize("name", ["../../etc/passwd", "ä b/.safetensors", "x" * 400 + ".safetensors", ""])
def test_any_file_name_will_do(content, name):
    assert open_checkpoint(content, name, most_bytes=LIMIT)[1]["name"] == "small"
