"""Checkpoints: what is saved comes back, and whatever does not fit is refused in one sentence."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch.optim.swa_utils import AveragedModel

from dnl.checkpoints import (
    CheckpointError,
    checkpoint_hash,
    list_checkpoints,
    load_checkpoint,
    load_torchvision_backbone,
    read_card,
    save_checkpoint,
)
from dnl.classes import CAMVID
from dnl.network import ModelConfig, build_model

ROOT = Path(__file__).parents[3]
SMALL = ModelConfig("resnet18", 8, 11, attention_stride=8, gamma_init=0.3)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = build_model(SMALL).eval()
    model.label_set = CAMVID
    return model


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "small.safetensors"
    save_checkpoint(path, model, {"name": "small"})
    return path


def rewrite(path, *, card=None, change=None):
    """Save the file at `path` again with another card or other tensors."""
    state = safetensors.torch.load_file(path)
    card = read_card(path) if card is None else card
    if change:
        change(state)
    safetensors.torch.save_file(state, path, {"card": json.dumps(card)})


def test_round_trip_restores_weights_to_half_precision_and_the_card(model, saved):
    loaded, card = load_checkpoint(saved)
    assert card["name"] == "small"
    assert loaded.config == SMALL
    assert loaded.label_set == CAMVID
    assert not loaded.training
    for key, tensor in model.state_dict().items():
        expected = tensor.half().float() if tensor.ndim == 4 else tensor
        assert torch.equal(loaded.state_dict()[key], expected), key


def test_saving_what_was_loaded_changes_no_bit(saved, tmp_path):
    loaded, card = load_checkpoint(saved)
    again = tmp_path / "again.safetensors"
    save_checkpoint(again, loaded, card)
    first, second = safetensors.torch.load_file(saved), safetensors.torch.load_file(again)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert checkpoint_hash(saved) == checkpoint_hash(saved) != "0" * 64


def test_checkpoints_in_the_users_folder_are_listed_and_opened_by_name(saved, monkeypatch):
    monkeypatch.setenv("DNL_CHECKPOINTS", str(saved.parent))
    assert "small" in list_checkpoints()
    assert load_checkpoint("small")[1]["name"] == "small"


def test_unknown_name_lists_the_known_ones(saved, monkeypatch):
    monkeypatch.setenv("DNL_CHECKPOINTS", str(saved.parent))
    with pytest.raises(CheckpointError, match=r"no checkpoint 'nosuch'.*small"):
        load_checkpoint("nosuch")


@pytest.mark.parametrize("keep", [0, 5, 100, 20_000])
def test_cut_off_file(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"small\.safetensors is (not a readable|empty)"):
        load_checkpoint(saved)


def test_file_without_card(saved):
    safetensors.torch.save_file(safetensors.torch.load_file(saved), saved)
    with pytest.raises(CheckpointError, match="carries no card"):
        load_checkpoint(saved)


def test_another_architecture_names_the_keys(saved):
    card = read_card(saved)
    rewrite(saved, card={**card, "config": {**card["config"], "backbone": "resnet34"}})
    with pytest.raises(CheckpointError, match=r"missing backbone\.stage1\.2\.conv1\.weight"):
        load_checkpoint(saved)


def test_unknown_configuration_field(saved):
    card = read_card(saved)
    rewrite(saved, card={**card, "config": {**card["config"], "wings": 2}})
    with pytest.raises(CheckpointError, match=r"not describe a network of this version.*wings"):
        load_checkpoint(saved)


def test_classes_that_do_not_match_the_network(saved):
    card = read_card(saved)
    label_set = {**card["label_set"], "class_names": ["a"], "palette": [[0, 0, 0]]}
    rewrite(saved, card={**card, "label_set": label_set})
    with pytest.raises(CheckpointError, match="1 class names for 11 classes"):
        load_checkpoint(saved)


def test_missing_unexpected_and_misshapen_keys_are_all_named(saved):
    def change(state):
        del state["context.gamma"]
        state["extra.weight"] = torch.zeros(1)
        state["head.4.bias"] = torch.zeros(5)

    rewrite(saved, change=change)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(saved)
    for part in ("missing context.gamma", "unexpected extra.weight", "head.4.bias ((5,) instead of (11,))"):
        assert part in str(error.value)


def averaged(model):
    """The mean of one update, as training loops keep it."""
    found = AveragedModel(model)
    found.update_parameters(model)
    return found


def partly_compiled(model):
    model.backbone = torch.compile(model.backbone)
    return model


@pytest.mark.parametrize("wrap", [torch.compile, torch.nn.DataParallel, averaged, partly_compiled])
def test_a_network_that_torch_has_wrapped_is_saved_without_the_wrapper(wrap, model, saved, tmp_path):
    save_checkpoint(tmp_path / "wrapped.safetensors", wrap(model), {"name": "small"})
    assert (tmp_path / "wrapped.safetensors").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_names_that_a_wrapper_has_lengthened_are_read(prefix, model, saved):
    """As files of `safetensors.torch.save_file(wrapped.state_dict(), …)` have them."""
    expected = load_checkpoint(saved)[0].state_dict()

    def lengthen(state):
        for key in list(state):
            state[prefix + key] = state.pop(key)

    rewrite(saved, change=lengthen)
    found = load_checkpoint(saved)[0].state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


def test_what_is_no_network_of_ours_is_not_saved(tmp_path):
    with pytest.raises(CheckpointError, match=r"a Linear is no network of dnl\.build_model"):
        save_checkpoint(tmp_path / "linear.safetensors", torch.nn.Linear(2, 2), {})


def test_weights_that_are_not_finite(saved):
    rewrite(saved, change=lambda state: state["context.gamma"].fill_(float("nan")))
    with pytest.raises(CheckpointError, match=r"not finite numbers in 'context\.gamma'"):
        load_checkpoint(saved)


def test_weights_of_another_kind_of_number(saved):
    rewrite(saved, change=lambda state: state.update({"head.0.weight": state["head.0.weight"].to(torch.int8)}))
    with pytest.raises(CheckpointError, match=r"small\.safetensors .*floating-point numbers head\.0\.weight \(int8\)"):
        load_checkpoint(saved)
    rewrite(saved, change=lambda state: state.update({"head.0.weight": state["head.0.weight"].double()}))
    assert load_checkpoint(saved)[0].head[0].weight.dtype == torch.float32


def test_loading_leaves_the_compiler_alone():
    """PyTorch imports its compiler, or SymPy for it, for some ways to make a weight: a second of a visitor's time."""
    script = "import sys, dnl; dnl.load_checkpoint('camvid-dnl'); print({'torch._dynamo', 'sympy'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


@pytest.mark.parametrize("value", [1e5, -70_000.0])
def test_a_weight_beyond_half_precision_is_kept(value, model, tmp_path):
    with torch.no_grad():
        model.head[0].weight[0, 0, 0, 0] = value
    save_checkpoint(tmp_path / "a.safetensors", model, {})
    loaded, _ = load_checkpoint(tmp_path / "a.safetensors")
    assert torch.equal(loaded.head[0].weight, model.head[0].weight)
    assert torch.equal(loaded.reduce[0].weight, model.reduce[0].weight.half().float())


def test_weights_that_are_all_below_half_precision_are_kept(model, tmp_path):
    with torch.no_grad():
        model.head[0].weight.fill_(1e-9)
    save_checkpoint(tmp_path / "a.safetensors", model, {})
    assert (load_checkpoint(tmp_path / "a.safetensors")[0].head[0].weight == 1e-9).all()


def test_weights_that_are_not_finite_are_not_saved(model, tmp_path):
    with torch.no_grad():
        model.head[0].weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(CheckpointError, match=r"weights 'head\.0\.weight' hold values that are not finite"):
        save_checkpoint(tmp_path / "a.safetensors", model, {})
    assert not list(tmp_path.iterdir())


def test_a_pickled_class_is_named_with_what_its_sender_should_save(model, tmp_path, monkeypatch):
    package = tmp_path / "mmengine_like"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "logging.py").write_text("class HistoryBuffer:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    history = importlib.import_module("mmengine_like.logging").HistoryBuffer()
    file = tmp_path / "epoch_1.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "message_hub": history}, file)
    with pytest.raises(CheckpointError) as caught:
        load_torchvision_backbone(file, model)
    message = str(caught.value)
    assert "an object of the class mmengine_like.logging.HistoryBuffer, which is refused" in message
    assert "have its sender save model.state_dict() alone" in message
    assert message.isprintable() and "two options" not in message
