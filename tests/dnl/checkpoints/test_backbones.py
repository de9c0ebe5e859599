"""Weights of backbones in other people's naming: torchvision's."""

import pickle

import pytest
import torch

from dnl.checkpoints import (
    CheckpointError,
    load_torchvision_backbone,
)
from dnl.network import ModelConfig, build_model
from tests.dnl.checkpoints.keys import conv, norm


def named_by_torchvision(model):
    """The backbone's weights under torchvision's names, with its classifier."""
    names = {"stem.0.": "conv1.", "stem.1.": "bn1."}
    state = {}
    for key, tensor in model.backbone.state_dict().items():
        name = key.replace("stage", "layer")
        for ours, theirs in names.items():
            name = theirs + key.removeprefix(ours) if key.startswith(ours) else name
        state[name] = tensor.clone()
    return {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_torchvision_weights_fill_the_backbone(tmp_path, backbone):
    config = ModelConfig(backbone, deep_stem=False, attention_stride=8)
    state = named_by_torchvision(build_model(config))
    old = {key: tensor for key, tensor in state.items() if "num_batches_tracked" not in key}
    torch.save(old, tmp_path / "imagenet.pth")
    model = build_model(config)
    left_out = load_torchvision_backbone(tmp_path / "imagenet.pth", model)
    assert left_out == ["fc.weight", "fc.bias"]
    assert torch.equal(model.backbone.stem[0].weight, state["conv1.weight"])
    assert torch.equal(model.backbone.stage4[1].conv2.weight, state["layer4.1.conv2.weight"])
    assert torch.equal(model.backbone.stage2[0].downsample[0].weight, state["layer2.0.downsample.0.weight"])


def test_torchvision_weights_need_the_classic_stem(tmp_path):
    state = named_by_torchvision(build_model(ModelConfig("resnet18", deep_stem=False)))
    torch.save(state, tmp_path / "imagenet.pth")
    with pytest.raises(CheckpointError, match=r"missing stem\.3\.weight"):
        load_torchvision_backbone(tmp_path / "imagenet.pth", build_model(ModelConfig("resnet18")))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"conv1.weight": Payload()}))
    with pytest.raises(CheckpointError, match="could not be read as plain weights"):
        load_torchvision_backbone(tmp_path / "evil.pth", build_model(ModelConfig("resnet18", 8, deep_stem=False)))
    assert not (tmp_path / "ran").exists()


def torchvision_shapes():
    """torchvision's ResNet-18 state dict: two 3×3 convolutions a block, the classic stem, a classifier."""
    shapes = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    before = 64
    for layer in range(4):
        channels = 64 * 2**layer
        for block in range(2):
            name = f"layer{layer + 1}.{block}"
            shapes |= {**conv(f"{name}.conv1", channels, before), **norm(f"{name}.bn1", channels)}
            shapes |= {**conv(f"{name}.conv2", channels, channels), **norm(f"{name}.bn2", channels)}
            if before != channels:
                shapes |= {
                    **conv(f"{name}.downsample.0", channels, before, 1),
                    **norm(f"{name}.downsample.1", channels),
                }
            before = channels
    return {**shapes, "fc.weight": (1000, 512), "fc.bias": (1000,)}


@pytest.fixture(scope="module")
def torchvision_state():
    generator = torch.Generator().manual_seed(0)
    return {key: torch.rand(shape, generator=generator) for key, shape in torchvision_shapes().items()}


def test_torchvision_weights_load_into_the_backbone(torchvision_state, tmp_path):
    torch.save(torchvision_state, tmp_path / "resnet18.pth")
    model = build_model(ModelConfig(backbone="resnet18", deep_stem=False))
    assert load_torchvision_backbone(tmp_path / "resnet18.pth", model) == ["fc.weight", "fc.bias"]
    backbone = model.backbone
    assert torch.equal(backbone.stem[0].weight, torchvision_state["conv1.weight"])
    assert torch.equal(backbone.stem[1].running_var, torchvision_state["bn1.running_var"])
    for layer, stage in enumerate((backbone.stage1, backbone.stage2, backbone.stage3, backbone.stage4), start=1):
        for key, tensor in stage.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                assert torch.equal(tensor, torchvision_state[f"layer{layer}.{key}"]), key


def test_torchvision_weights_need_the_classic_stem_and_the_right_depth(torchvision_state):
    with pytest.raises(CheckpointError, match=r"stem\.3\.weight"):
        load_torchvision_backbone(torchvision_state, build_model(ModelConfig(backbone="resnet18")))
    with pytest.raises(CheckpointError, match=r"missing stage1\.2\.conv1\.weight"):
        load_torchvision_backbone(torchvision_state, build_model(ModelConfig(backbone="resnet34", deep_stem=False)))
