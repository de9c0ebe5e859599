"""Weights in the naming of the reference release.

The release's names and shapes are generated here from their rules, and its forward pass is written out once more
from the definitions on a plain dictionary of tensors, with the attention map unfolded as published.
"""

import pytest
import torch
import torch.nn.functional as F

from dnl.checkpoints import CheckpointError, load_reference
from dnl.network import ModelConfig, build_model
from tests.dnl.checkpoints.keys import conv, conv_norm, head, norm

DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


def release_shapes(depths=DEPTHS["resnet101"], width=64, classes=19):
    """Every key of the release's state dict with its shape, for bottleneck backbones with the deep stem."""
    w, c = width, 8 * width
    shapes = {
        **conv("backbone.conv1.0", w, 3),
        **norm("backbone.conv1.1", w),
        **conv("backbone.conv1.3", w, w),
        **norm("backbone.conv1.4", w),
        **conv("backbone.conv1.6", 2 * w, w),
        **norm("backbone.bn1", 2 * w),
    }
    before = 2 * w
    for layer, depth in enumerate(depths):
        inner = w * 2**layer
        for block in range(depth):
            name = f"backbone.layer{layer + 1}.{block}"
            for index, (out_channels, in_channels, side) in enumerate(
                ((inner, before, 1), (inner, inner, 3), (4 * inner, inner, 1)), start=1
            ):
                shapes |= conv(f"{name}.conv{index}", out_channels, in_channels, side)
                shapes |= norm(f"{name}.bn{index}", out_channels)
            if block == 0:
                shapes |= conv(f"{name}.downsample.0", 4 * inner, before, 1)
                shapes |= norm(f"{name}.downsample.1", 4 * inner)
            before = 4 * inner
    shapes |= conv_norm("conv", c, 4 * c)
    shapes |= conv_norm("interp", c, c)
    for index in (1, 2):
        shapes |= {**conv(f"down_sample.conv{index}", c, c), **norm(f"down_sample.bn{index}", c)}
    shapes |= conv_norm("down_sample.downsample", c, c)
    shapes["dnl.gamma"] = (1,)
    for index, channels in ((1, c // 8), (2, c // 8), (3, c)):
        shapes |= conv(f"dnl.conv{index}", channels, c, 1)
    shapes |= conv_norm("dnl.conv", c, c)
    shapes |= head("dnl.conv_out3", c, 2 * c, classes)
    shapes |= head("conv_out1", c, 5 * c, classes)
    return shapes | head("conv_out2", w, c, classes)


def release_parts(model):
    """Which of our modules is which prefix of the release."""
    stem = {f"backbone.conv1.{index}": model.backbone.stem[index] for index in (0, 1, 3, 4, 6)}
    return stem | {
        "backbone.bn1": model.backbone.stem[7],
        "backbone.layer1": model.backbone.stage1,
        "backbone.layer2": model.backbone.stage2,
        "backbone.layer3": model.backbone.stage3,
        "backbone.layer4": model.backbone.stage4,
        "conv": model.reduce,
        "interp": model.down.downsample,
        "down_sample": model.down,
        "dnl.conv1": model.context.query,
        "dnl.conv2": model.context.key,
        "dnl.conv3": model.context.value,
        "dnl.conv": model.fuse,
        "dnl.conv_out3.conv": model.class_head,
        "conv_out1.conv": model.head,
        "conv_out2.conv": model.shallow_head,
    }


def release_state_of(model):
    state = {
        f"{prefix}.{key}": tensor
        for prefix, module in release_parts(model).items()
        for key, tensor in module.state_dict().items()
    }
    return state | {"dnl.gamma": model.context.gamma.detach()}


def small_model(**options):
    return build_model(ModelConfig(**{"backbone": "resnet50", "width": 8, "num_classes": 5, **options}))


@pytest.fixture
def release_state():
    """Random weights and batch-norm statistics in the release's names, for `small_model()`."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in release_shapes(DEPTHS["resnet50"], 8, 5).items():
        noise = torch.randn(shape, generator=generator)
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
        elif len(shape) == 4:
            state[key] = noise / noise[0].numel() ** 0.5
        elif key.endswith(("running_var", ".weight")):
            state[key] = (0.2 * noise).exp()
        else:
            state[key] = 0.2 * noise
    # Residual branches are damped, so that activations and scores stay near 1 through sixteen blocks.
    for key in state:
        if key.endswith(("bn3.weight", "down_sample.bn2.weight")):
            state[key] = state[key] * 0.3
    state["dnl.gamma"] = torch.tensor([0.7])
    twins = {key: key.replace("interp", "down_sample.downsample") for key in state if key.startswith("interp.")}
    return state | {twin: state[key] for key, twin in twins.items()}


def test_names_and_shapes_are_those_of_the_release():
    shapes = release_shapes()
    assert len(shapes) == 700
    with torch.device("meta"):
        model = build_model(ModelConfig(backbone="resnet101", num_classes=19, context="dnl"))
    assert {key: tuple(tensor.shape) for key, tensor in release_state_of(model).items()} == shapes


def test_every_tensor_arrives_where_it_belongs(release_state):
    model = small_model()
    load_reference(release_state, model)
    arrived = release_state_of(model)
    assert arrived.keys() == release_state.keys()
    for key, tensor in release_state.items():
        assert torch.equal(arrived[key], tensor), key


def test_weights_are_copied_not_shared(release_state):
    model = small_model()
    load_reference(release_state, model)
    release_state["dnl.gamma"].fill_(9)
    assert model.context.gamma.item() == pytest.approx(0.7)


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state}], ids=["plain", "wrapped"])
def test_a_file_loads_like_a_dictionary(release_state, tmp_path, wrap):
    from_file, from_dict = small_model(), small_model()
    torch.save(wrap({f"module.{key}": tensor for key, tensor in release_state.items()}), tmp_path / "release.pth")
    load_reference(tmp_path / "release.pth", from_file)
    load_reference(release_state, from_dict)
    for key, tensor in from_dict.state_dict().items():
        assert torch.equal(from_file.state_dict()[key], tensor), key


@pytest.mark.parametrize(
    "key",
    ["dnl.conv2.weight", "backbone.layer3.5.bn2.running_var", "interp.0.weight", "down_sample.downsample.0.weight"],
)
def test_a_missing_key_is_named(release_state, key):
    del release_state[key]
    with pytest.raises(CheckpointError, match=f"missing.* {key}"):
        load_reference(release_state, small_model())


@pytest.mark.parametrize(
    "key", ["backbone.fc.weight", "backbone.layer1.9.conv1.weight", "context.gamma", "interp.7.bias"]
)
def test_an_unexpected_key_is_named(release_state, key):
    release_state[key] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=f"unexpected.* {key}"):
        load_reference(release_state, small_model())


def test_a_wrong_shape_is_named(release_state):
    release_state["conv_out1.conv.4.bias"] = torch.zeros(6)
    with pytest.raises(CheckpointError, match=r"\(6,\) instead of \(5,\)"):
        load_reference(release_state, small_model())


def test_weights_that_are_no_numbers_to_compute_with_are_refused(release_state):
    for change, message in (
        (lambda weight: weight > 0, r"not of plain floating-point numbers head\.1\.weight \(bool\)"),
        (lambda weight: weight * torch.inf, r"not finite numbers in 'head\.1\.weight'"),
    ):
        name = "conv_out1.conv.1.weight"
        with pytest.raises(CheckpointError, match=message):
            load_reference({**release_state, name: change(release_state[name])}, small_model())


def test_a_failed_load_changes_nothing(release_state):
    model = small_model()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    del release_state["dnl.gamma"]
    with pytest.raises(CheckpointError):
        load_reference(release_state, model)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_what_lies_around_the_weights_is_taken_off_and_counts_may_be_missing(release_state):
    older = {f"_orig_mod.{name}": tensor for name, tensor in release_state.items() if "num_batches" not in name}
    model = small_model()
    load_reference({"teacher": {"state_dict": older}, "epoch": 3}, model, key="teacher")
    assert torch.equal(model.down.downsample[0].weight, release_state["interp.0.weight"])
    assert not model.down.downsample[1].num_batches_tracked


def test_weights_that_torch_has_averaged_are_read(release_state, tmp_path):
    averaged = {"n_averaged": torch.tensor(7)} | {f"module.{name}": tensor for name, tensor in release_state.items()}
    torch.save(averaged, tmp_path / "averaged.pth")
    model, expected = small_model(), small_model()
    load_reference(tmp_path / "averaged.pth", model)
    load_reference(release_state, expected)
    own = expected.state_dict()
    assert all(torch.equal(tensor, own[key]) for key, tensor in model.state_dict().items())


def test_a_program_of_torchscript_is_refused_with_what_to_save(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "program.pt")
    with pytest.raises(
        CheckpointError, match=r"TorchScript archive, a program; have its sender save model\.state_dict"
    ):
        load_reference(tmp_path / "program.pt", small_model())


def test_interp_and_the_shortcut_must_be_the_same_layer(release_state):
    release_state["interp.0.weight"] = release_state["interp.0.weight"] + 1
    with pytest.raises(CheckpointError, match=r"interp\.0\.weight differs from down_sample\.downsample\.0\.weight"):
        load_reference(release_state, small_model())


def release_forward(state, images, depths):
    """The release's three outputs, from the definitions; sizes with an even number of cells at stride 8."""

    def convolve(name, maps, stride=1, dilation=1):
        weight = state[f"{name}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(maps, weight, state.get(f"{name}.bias"), stride, padding, dilation)

    def normalise(name, maps):
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(maps, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"])

    def convolve_normalise(name, maps, stride=1):
        return normalise(f"{name}.1", convolve(f"{name}.0", maps, stride))

    def predict(name, maps):
        return convolve(f"{name}.conv.4", F.relu(convolve_normalise(f"{name}.conv", maps)))

    def resize(maps, size):
        return F.interpolate(maps, size, mode="bilinear", align_corners=True)

    maps = F.relu(convolve_normalise("backbone.conv1", images, stride=2))
    maps = F.relu(normalise("backbone.conv1.4", convolve("backbone.conv1.3", maps)))
    maps = F.relu(normalise("backbone.bn1", convolve("backbone.conv1.6", maps)))
    maps = F.max_pool2d(maps, 3, 2, 1)
    stages = []
    for layer, depth in enumerate(depths):
        for block in range(depth):
            name = f"backbone.layer{layer + 1}.{block}"
            stride = 2 if (layer, block) == (1, 0) else 1
            dilation = (1, 1, 2, (4, 8, 16)[block % 3])[layer]
            inner = F.relu(normalise(f"{name}.bn1", convolve(f"{name}.conv1", maps)))
            inner = F.relu(normalise(f"{name}.bn2", convolve(f"{name}.conv2", inner, stride, dilation)))
            inner = normalise(f"{name}.bn3", convolve(f"{name}.conv3", inner))
            shortcut = maps if block else convolve_normalise(f"{name}.downsample", maps, stride)
            maps = F.relu(inner + shortcut)
        stages.append(maps)
    _, stage2, stage3, stage4 = stages

    reduced = F.relu(convolve_normalise("conv", stage4))
    inner = F.relu(normalise("down_sample.bn1", convolve("down_sample.conv1", reduced, stride=2)))
    inner = normalise("down_sample.bn2", convolve("down_sample.conv2", inner))
    features = F.relu(inner + F.relu(convolve_normalise("interp", reduced, stride=2)))

    batch, _, height, width = features.shape
    cells = height * width
    query, key, value = (convolve(f"dnl.conv{index}", features) for index in (1, 2, 3))
    class_logits = predict("dnl.conv_out3", stage3)
    probs = torch.softmax(resize(class_logits, (height, width)), dim=1).flatten(2)
    attention = torch.softmax(query.flatten(2).transpose(1, 2) @ key.flatten(2), dim=-1)
    attention = attention * torch.sigmoid(probs.transpose(1, 2) @ probs)
    windows = F.unfold(attention.reshape(batch, cells, height, width), 3, padding=1).reshape(batch, cells, 9, cells)
    key_windows = F.unfold(key, 3, padding=1).reshape(batch, -1, 9, cells)
    retention = torch.sigmoid((query.flatten(2)[:, :, None] * key_windows).sum(1))
    attention = (windows * retention[:, None]).sum(2)
    gathered = (value.flatten(2) @ attention.transpose(1, 2)).reshape_as(features)
    context = resize(state["dnl.gamma"] * gathered + features, (2 * height, 2 * width))
    context = F.relu(convolve_normalise("dnl.conv", context))
    outputs = (predict("conv_out1", torch.cat([stage4, context], 1)), predict("conv_out2", stage2), class_logits)
    return tuple(resize(logits, images.shape[2:]) for logits in outputs)


@pytest.mark.parametrize("size", [(64, 96), (128, 58)], ids=str)
def test_the_network_computes_what_the_release_computes(release_state, size):
    model = small_model().eval().double()
    state = {key: tensor.double() for key, tensor in release_state.items()}
    load_reference(state, model)
    images = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = release_forward(state, images, DEPTHS["resnet50"])
        for ours, theirs in zip(model(images), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
