"""Weights of backbones in other people's naming, and the features that come of them.

Names and shapes are written out here from each library's rules, and the network once more on a plain dictionary of
tensors, with the release's dilations.
"""

import pickle

import pytest
import torch
import torch.nn.functional as F

from dnl.checkpoints import CheckpointError, load_backbone, load_torchvision_backbone
from dnl.network import ModelConfig, build_model
from tests.dnl.checkpoints.keys import conv, norm

WIDTH = 8
DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
# Of each naming the stem's convolutions and the norms behind them.
STEMS = {
    "torchvision": [("conv1", "bn1")],
    "CSAIL": [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")],
    "OpenMMLab": [("stem.0", "stem.1"), ("stem.3", "stem.4"), ("stem.6", "stem.7")],
    "timm": [("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1")],
}
# A naming with the last channels of its stem over the width, a layout, and the configuration that it fits.
FILES = [
    ("torchvision", 1, "resnet18", {"deep_stem": False}),
    ("torchvision", 1, "resnet50", {"deep_stem": False}),
    ("CSAIL", 2, "resnet18", {}),
    ("CSAIL", 2, "resnet50", {}),
    ("OpenMMLab", 1, "resnet50", {"stem_expansion": 1}),
    ("OpenMMLab", 2, "resnet50", {}),
    ("timm", 1, "resnet18", {"stem_expansion": 1}),
    ("timm", 2, "resnet50", {}),
]


def blocks_of(name):
    """Each block's name, channels, stride, and the dilations of its 3×3 convolutions."""
    for stage, depth in enumerate(DEPTHS[name]):
        for block in range(depth):
            own = (1, 1, 2, (4, 8, 16)[block % 3])[stage]
            stride = 2 if stage == 1 and block == 0 else 1
            yield f"layer{stage + 1}.{block}", WIDTH * 2**stage, stride, own, (1, 1, 2, 4)[stage]


def shapes_of(naming, expansion, name):
    """Every key of a file with its shape, its classifier among them."""
    stem, before = STEMS[naming], expansion * WIDTH
    inner = before // 2
    if len(stem) == 1:
        shapes = {**conv("conv1", before, 3, 7), **norm("bn1", before)}
    else:
        shapes = {}
        for (layer, its_norm), (outer, its) in zip(stem, ((inner, 3), (inner, inner), (before, inner)), strict=True):
            shapes |= {**conv(layer, outer, its), **norm(its_norm, outer)}
    for block, channels, stride, *_ in blocks_of(name):
        if name == "resnet50":
            parts = ((channels, before, 1), (channels, channels, 3), (4 * channels, channels, 1))
        else:
            parts = ((channels, before, 3), (channels, channels, 3))
        for index, (outer, its, side) in enumerate(parts, start=1):
            shapes |= {**conv(f"{block}.conv{index}", outer, its, side), **norm(f"{block}.bn{index}", outer)}
        if stride == 2 or before != parts[-1][0]:
            shapes |= {**conv(f"{block}.downsample.0", parts[-1][0], before, 1), **norm(f"{block}.downsample.1", outer)}
        before = parts[-1][0]
    return {**shapes, "fc.weight": (1000, before), "fc.bias": (1000,)}


def state_of(naming, expansion, name):
    """Random weights under their names, with variances around 1."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in shapes_of(naming, expansion, name).items():
        if len(shape) == 4:
            state[key] = torch.randn(shape, generator=generator) * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        elif key.endswith(("running_var", "weight")):
            state[key] = 0.5 + torch.rand(shape, generator=generator)
        elif key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
        else:
            state[key] = 0.1 * torch.randn(shape, generator=generator)
    return state


def features_of(state, naming, name, images):
    """Outputs of stages 1, 2, 3 and 4."""

    def layer(x, convolution, its_norm, stride=1, dilation=1):
        weight = state[f"{convolution}.weight"]
        x = F.conv2d(x, weight, None, stride, dilation * (weight.shape[-1] // 2), dilation)
        mean, var, scale, shift = (
            state[f"{its_norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, scale, shift)

    x = images
    for index, (convolution, its_norm) in enumerate(STEMS[naming]):
        x = layer(x, convolution, its_norm, 1 if index else 2).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    after = {}
    for block, _, stride, dilation, of_the_stage in blocks_of(name):
        shortcut = f"{block}.downsample"
        kept = layer(x, f"{shortcut}.0", f"{shortcut}.1", stride) if f"{shortcut}.0.weight" in state else x
        bottleneck, basic = ((1, 1), (stride, dilation), (1, 1)), ((stride, dilation), (1, of_the_stage))
        ways = bottleneck if name == "resnet50" else basic
        for index, (step, spread) in enumerate(ways, start=1):
            x = layer(x, f"{block}.conv{index}", f"{block}.bn{index}", step, spread)
            x = x.relu() if index < len(ways) else (x + kept).relu()
        after[block[5]] = x
    return after["1"], after["2"], after["3"], after["4"]


def network(name="resnet18", **options):
    return build_model(ModelConfig(name, WIDTH, 3, context="fcn", **options)).eval()


@pytest.mark.parametrize(("naming", "expansion", "name", "options"), FILES)
def test_the_features_are_those_of_the_weights(naming, expansion, name, options, tmp_path):
    state = state_of(naming, expansion, name)
    torch.save(state, tmp_path / "weights.pth")
    model = network(name, **options)
    assert load_backbone(tmp_path / "weights.pth", model) == ["fc.weight", "fc.bias"]
    images = torch.randn(1, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, (_, *found) = features_of(state, naming, name, images), model.backbone(images)
    assert expected[0].shape[2:] == (10, 14) and expected[1].shape[2:] == (5, 7)
    for theirs, ours in zip(expected, found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def state():
    return state_of("OpenMMLab", 1, "resnet18")


def prefixed(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


WRAPPED = {
    "state_dict": lambda state: {"state_dict": state, "epoch": 7, "optimizer": {"state": {}}},
    "model": lambda state: {"model": state, "args": {"lr": 0.1}},
    "both": lambda state: {"model": {"state_dict": state}},
    "parallel": lambda state: {"state_dict": prefixed("module.", state)},
    "compiled": lambda state: prefixed("_orig_mod.", state),
    "compiled and parallel": lambda state: prefixed("module._orig_mod.module.", state),
    "a whole network, its backbone compiled": lambda state: {
        "meta": {"CLASSES": ["road"], "PALETTE": [[1, 2, 3]]},
        "state_dict": {**prefixed("backbone._orig_mod.", state), "decode_head.conv_seg.weight": torch.zeros(1)},
    },
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_what_lies_around_the_weights_is_taken_off(wrapped, state, tmp_path):
    older = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(WRAPPED[wrapped](older), tmp_path / "wrapped.pth")
    model = network(stem_expansion=1)
    left_out = load_backbone(tmp_path / "wrapped.pth", model)
    assert len(left_out) == (3 if wrapped.startswith("a whole") else 2)
    assert torch.equal(model.backbone.stem[3].weight, state["stem.3.weight"])
    assert torch.equal(model.backbone.stage4[1].bn2.running_var, state["layer4.1.bn2.running_var"])
    assert not model.backbone.stem[1].num_batches_tracked


def test_of_a_teacher_and_a_student_one_is_named(state, tmp_path):
    torch.save({"student": prefixed("module.", state), "teacher": state, "epoch": 1}, tmp_path / "two.pth")
    model = network(stem_expansion=1)
    with pytest.raises(CheckpointError, match=r"holds tensors under student, teacher; say which with key="):
        load_backbone(tmp_path / "two.pth", model)
    with pytest.raises(CheckpointError, match=r"no tensors under 'ema'; it does under student, teacher"):
        load_backbone(tmp_path / "two.pth", model, key="ema")
    for key in ("student", "teacher"):
        assert load_backbone(tmp_path / "two.pth", model, key=key) == ["fc.weight", "fc.bias"]
    with pytest.raises(CheckpointError, match="state_dict, model; say which"):
        load_backbone({"state_dict": state, "model": state}, model)


def test_mappings_without_end_are_no_state_dict(state):
    endless = {"x": torch.zeros(1)}
    endless["state_dict"] = endless
    for nonsense in (endless, {"weights": 5}, {"state_dict": [1]}):
        with pytest.raises(CheckpointError, match="holds no state dict"):
            load_backbone(nonsense, network())


@pytest.mark.parametrize(
    ("naming", "expansion", "name", "config", "message"),
    [
        ("torchvision", 1, "resnet18", {}, "'resnet18', width=8, deep_stem=False, stem_expansion=2; this network has"),
        ("OpenMMLab", 1, "resnet50", {"name": "resnet50"}, "deep_stem=True, stem_expansion=1; this network has"),
        ("CSAIL", 2, "resnet50", {}, "in CSAIL's naming, fits backbone='resnet50', width=8, deep_stem=True, stem_exp"),
        ("timm", 2, "resnet18", {"deep_stem": False}, "deep_stem=True, stem_expansion=2; this network has"),
    ],
)
def test_a_file_of_another_network_says_what_it_fits(naming, expansion, name, config, message):
    with pytest.raises(CheckpointError, match=message):
        load_backbone(state_of(naming, expansion, name), network(**config))


def test_average_pooling_in_the_shortcuts_is_refused(state):
    pooled = {name.replace("downsample.1", "downsample.2"): tensor for name, tensor in state.items()}
    pooled = {name.replace("downsample.0", "downsample.1"): tensor for name, tensor in pooled.items()}
    pooled["layer1.0.downsample.1.weight"] = torch.zeros(8, 8, 1, 1)
    with pytest.raises(CheckpointError, match=r"average pooling in its shortcuts \(a ResNet-D"):
        load_backbone(pooled, network(stem_expansion=1))


def test_a_key_too_many_too_few_or_of_another_naming_is_refused(state):
    model = network(stem_expansion=1)
    with pytest.raises(CheckpointError, match=r"missing stage3\.0\.bn1\.weight"):
        load_backbone({name: tensor for name, tensor in state.items() if name != "layer3.0.bn1.weight"}, model)
    with pytest.raises(CheckpointError, match=r"unexpected stage2\.0\.se\.fc1\.weight"):
        load_backbone({**state, "layer2.0.se.fc1.weight": torch.zeros(1)}, model)
    with pytest.raises(CheckpointError, match=r"by a naming known here .* blocks\.0\.attn"):
        load_backbone({"blocks.0.attn": torch.zeros(1)}, model)
    assert "bn1._running_iter" in load_backbone(
        {**state_of("CSAIL", 2, "resnet18"), "bn1._running_iter": torch.ones(1)}, network()
    )
    with pytest.raises(CheckpointError, match="holds some tensors twice"):
        load_backbone({**state, "_orig_mod.fc.bias": torch.zeros(1)}, model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weight: weight > 0, r"not of plain floating-point numbers stem\.0\.weight \(bool\)$"),
        (lambda weight: (127 * weight).to(torch.int8), r"stem\.0\.weight \(int8\)"),
        (lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8), r"stem\.0\.weight \(qint8\)"),
        (lambda weight: weight.to(torch.complex64), r"stem\.0\.weight \(complex64\)"),
        (lambda weight: weight.to_sparse(), r"stem\.0\.weight \(float32\)"),
        (lambda weight: torch.full_like(weight, torch.nan), r"not finite numbers in 'stem\.0\.weight'"),
        (lambda weight: weight.double() + 1e300, r"not finite numbers in 'stem\.0\.weight'"),  # in float32
    ],
)
def test_weights_that_are_no_numbers_to_compute_with_are_refused_and_change_nothing(change, message, state):
    model = network(stem_expansion=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    changed = {**state, "stem.0.weight": change(state["stem.0.weight"])}
    with pytest.raises(CheckpointError, match=message):
        load_backbone(changed, model)
    with pytest.raises(CheckpointError, match=r"negative variance in 'stage2\.1\.bn1\.running_var'"):
        name = "layer2.1.bn1.running_var"
        load_backbone({**state, name: -state[name] - 1}, model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"conv1.weight": Payload()}))
    with pytest.raises(CheckpointError, match="could not be read as plain weights"):
        load_torchvision_backbone(tmp_path / "evil.pth", build_model(ModelConfig("resnet18", 8, deep_stem=False)))
    assert not (tmp_path / "ran").exists()
