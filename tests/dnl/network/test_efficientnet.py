"""EfficientNet-Lite0: features computed anew from its weights, in the namings in which they are published."""

import pytest
import torch
import torch.nn.functional as F

from dnl.checkpoints import CheckpointError, load_backbone
from dnl.network import ModelConfig, build_model
from dnl.network.efficientnet import EfficientNetLite0, SamePadded
from dnl.transforms import MEAN, STD

# Kernel, stride, expansion, channels of each of the sixteen blocks, and its place in timm, as published.
BLOCKS = [
    ((3, 1, 1, 16), "0.0"),
    ((3, 2, 6, 24), "1.0"),
    ((3, 1, 6, 24), "1.1"),
    ((5, 2, 6, 40), "2.0"),
    ((5, 1, 6, 40), "2.1"),
    ((3, 2, 6, 80), "3.0"),
    ((3, 1, 6, 80), "3.1"),
    ((3, 1, 6, 80), "3.2"),
    ((5, 1, 6, 112), "4.0"),
    ((5, 1, 6, 112), "4.1"),
    ((5, 1, 6, 112), "4.2"),
    ((5, 2, 6, 192), "5.0"),
    ((5, 1, 6, 192), "5.1"),
    ((5, 1, 6, 192), "5.2"),
    ((5, 1, 6, 192), "5.3"),
    ((3, 1, 6, 320), "6.0"),
]
NAMINGS = ("the package's", "timm's")


def names_of(naming, index):
    """Convolution and norm of a block's expansion, depthwise and pointwise convolution."""
    if naming == "the package's":
        at = f"_blocks.{index}."
        return [
            (f"{at}{convolution}", f"{at}{norm}")
            for convolution, norm in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
        ]
    at = f"blocks.{BLOCKS[index][1]}."
    parts = ("conv_pw", "conv_dw", "conv_pwl") if index else (None, "conv_dw", "conv_pw")
    return [(f"{at}{part}", f"{at}bn{number + (index > 0)}") for number, part in enumerate(parts)]


def stem_of(naming):
    return ("_conv_stem", "_bn0") if naming == "the package's" else ("conv_stem", "bn1")


def state_of(naming):
    """Random weights under their names, with variances around 1, and a classifier."""
    generator = torch.Generator().manual_seed(0)
    state = {}

    def add(convolution, norm, channels, inner, kernel):
        shape = (channels, inner, kernel, kernel)
        state[f"{convolution}.weight"] = torch.randn(shape, generator=generator) * (2 / (inner * kernel**2)) ** 0.5
        for part in ("weight", "running_var"):
            state[f"{norm}.{part}"] = 0.5 + torch.rand(channels, generator=generator)
        for part in ("bias", "running_mean"):
            state[f"{norm}.{part}"] = 0.1 * torch.randn(channels, generator=generator)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    add(*stem_of(naming), 32, 3, 3)
    before = 32
    for index, ((kernel, _, expansion, channels), _) in enumerate(BLOCKS):
        expand, depthwise, project = names_of(naming, index)
        inner = before * expansion
        if expansion > 1:
            add(*expand, inner, before, 1)
        add(*depthwise, inner, 1, kernel)
        add(*project, channels, inner, 1)
        before = channels
    head, norm, classifier = (
        ("_conv_head", "_bn1", "_fc") if naming == "the package's" else ("conv_head", "bn2", "classifier")
    )
    add(head, norm, 1280, 320, 1)
    return {**state, f"{classifier}.weight": torch.zeros(1000, 1280), f"{classifier}.bias": torch.zeros(1000)}


def features_of(state, naming, pixels):
    """Outputs of the fifth, eleventh and last block, for pixels of 0 … 255."""

    def layer(x, convolution, norm, stride=1, groups=1, activated=True):
        weight = state[f"{convolution}.weight"]
        kernel = weight.shape[-1]
        padding = []
        for side in (x.shape[3], x.shape[2]):
            places = (side + stride - 1) // stride
            most = max(0, stride * (places - 1) + kernel - side)
            padding += [most // 2, most - most // 2]
        x = F.conv2d(F.pad(x, padding), weight, None, stride, groups=groups)
        mean, var, scale, shift = (
            state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = F.batch_norm(x, mean, var, scale, shift, eps=1e-3)
        return x.clamp(0, 6) if activated else x

    x = layer((pixels - 127) / 128, *stem_of(naming), stride=2)
    stem, after = x, {}
    for index, ((_, stride, expansion, channels), _) in enumerate(BLOCKS):
        expand, depthwise, project = names_of(naming, index)
        kept = x
        if expansion > 1:
            x = layer(x, *expand)
        x = layer(x, *depthwise, stride=stride, groups=x.shape[1])
        x = layer(x, *project, activated=False)
        after[index] = x = x + kept if stride == 1 and kept.shape[1] == channels else x
    return stem, after[2], after[4], after[10], after[15]


def network(**options):
    return build_model(ModelConfig("efficientnet_lite0", 8, 3, context="fcn", **options)).eval()


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("size", [(64, 96), (45, 71)])  # sides that every stride divides, and none
def test_the_features_are_those_of_the_weights(naming, size):
    state = state_of(naming)
    model = network()
    left_out = load_backbone(state, model)
    assert len(left_out) == 8 and all("." in name and name in state for name in left_out)
    pixels = torch.randint(0, 256, (1, 3, *size), generator=torch.Generator().manual_seed(1)).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    with torch.inference_mode():
        expected_stem, expected_stage1, *expected = features_of(state, naming, pixels)
        stem, stage1, *found = model.backbone((pixels / 255 - mean) / std)
    assert stem.shape == (1, model.backbone.stem_channels, *(-(-length // 2) for length in size))
    torch.testing.assert_close(stem, expected_stem, rtol=1e-3, atol=1e-3)
    assert stage1.shape == (1, 24, *(-(-length // 4) for length in size))
    torch.testing.assert_close(stage1, expected_stage1, rtol=1e-3, atol=1e-3)
    side = tuple(-(-length // 8) for length in size)
    assert [maps.shape for maps in found] == [(1, 40, *side), (1, 152, *side), (1, 472, *side)]
    assert model.backbone.channels == (40, 152, 472)
    expected = [F.interpolate(maps, side, mode="bilinear", align_corners=True) for maps in expected]
    for count, ours in enumerate(found, start=1):
        torch.testing.assert_close(ours, torch.cat(expected[:count], dim=1), rtol=1e-3, atol=1e-4)


def test_every_weight_has_to_be_there_and_no_other():
    state = state_of("timm's")
    with pytest.raises(CheckpointError, match=r"missing .*stage1\.1\.expand\.0\.weight"):
        load_backbone({name: value for name, value in state.items() if name != "blocks.1.0.conv_pw.weight"}, network())
    with pytest.raises(
        CheckpointError, match=r"blocks\.1\.0\.se\.conv_reduce\.weight"
    ):  # an EfficientNet that is not Lite
        load_backbone({**state, "blocks.1.0.se.conv_reduce.weight": torch.zeros(1)}, network())
    with pytest.raises(CheckpointError, match="fits backbone='efficientnet_lite0'"):
        load_backbone(state, build_model(ModelConfig("resnet18", 8, 3, context="fcn")))
    with pytest.raises(CheckpointError, match="holds no EfficientNet-Lite0"):
        load_backbone({"layer1.0.conv1.weight": torch.zeros(1)}, network())


def test_what_a_resnet_alone_has_cannot_be_set():
    for options in ({"deep_stem": False}, {"stem_expansion": 1}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} is .* of ResNets alone"):
            ModelConfig("efficientnet_lite0", **options)


def test_the_width_is_that_of_the_heads():
    with torch.device("meta"):
        model = build_model(ModelConfig("efficientnet_lite0", width=16, num_classes=3))
    assert model.reduce[0].out_channels == 64 and model.backbone.channels == (40, 152, 472)


def test_depthwise_convolutions_stay_in_float32_under_autocast():
    convolution = SamePadded(4, 4, 5, groups=4, bias=False)
    pointwise = SamePadded(4, 4, 1, bias=False)
    maps = torch.randn(1, 4, 9, 7)
    with torch.autocast("cpu", torch.bfloat16):
        assert convolution(maps.bfloat16()).dtype == torch.float32
        assert pointwise(maps).dtype == torch.bfloat16


def test_it_has_the_published_number_of_weights():
    # 4,652,008 in all, less the head's 320·1280 + 2·1280 and the classifier's 1280·1000 + 1000
    assert sum(parameter.numel() for parameter in EfficientNetLite0().parameters()) == 4_652_008 - 412_160 - 1_281_000
