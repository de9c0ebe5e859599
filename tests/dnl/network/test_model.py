"""The whole network: shapes at awkward sizes, what each option changes, and what it starts from."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dnl.network import ModelConfig, build_model
from dnl.network.config import BACKBONES, CONTEXTS


def small_model(**options):
    torch.manual_seed(0)
    return build_model(ModelConfig(**{"backbone": "resnet18", "width": 8, "num_classes": 5, **options}))


def random_images(height, width, batch=1):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(height * width))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("context", CONTEXTS)
def test_every_context_and_backbone_gives_three_predictions_at_image_size(context, backbone):
    stride = 8 if context in ("nl", "dnl") else 16
    model = small_model(context=context, backbone=backbone, attention_stride=stride, gamma_init=0.5).eval()
    for height, width in ((32, 32), (33, 47), (90, 120)):
        with torch.inference_mode():
            output = model(random_images(height, width, batch=2))
        for name, logits in output._asdict().items():
            assert logits.shape == (2, 5, height, width), name
            assert torch.isfinite(logits).all(), name


@pytest.mark.parametrize(("stride", "cells"), [(8, (45, 60)), (16, (23, 30))])
def test_attention_cells_of_a_360x480_image(stride, cells):
    model = small_model(attention_stride=stride).eval()
    with torch.inference_mode():
        encoding = model.encode(random_images(360, 480))
        context = model.gather(encoding)
    assert encoding.features.shape == (1, 32, *cells)
    assert context.shape == encoding.features.shape
    assert encoding.class_logits.shape == (1, 5, 45, 60)
    assert encoding.stage2.shape == (1, 16, 45, 60)
    assert encoding.stage4.shape == (1, 64, 45, 60)


@pytest.mark.parametrize("height", [32, 37, 40, 47, 63, 64, 65])
@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("head_stride", [2, 4, 8])
def test_any_size_works_with_either_stride(height, stride, head_stride):
    model = small_model(attention_stride=stride, head_stride=head_stride).eval()
    with torch.inference_mode():
        assert model(random_images(height, 100 - height)).logits.shape == (1, 5, height, 100 - height)


def test_a_refined_head_starts_as_a_resize_of_its_features():
    model = small_model(attention_stride=8, head_stride=4, gamma_init=0.5).eval()
    with torch.inference_mode():
        encoding = model.encode(random_images(50, 70))
        assert encoding.stem is None  # the largest map is let go where nothing sees it
        assert encoding.stage1.shape == (1, 8, 13, 18)
        logits = model.decode(encoding, model.gather(encoding), (13, 18)).logits
        context = model.fuse(model.gather(encoding))
        features = model.head[:3](torch.cat([encoding.stage4, context], dim=1))
        resized = F.interpolate(features, (13, 18), mode="bilinear", align_corners=True)
        torch.testing.assert_close(logits, model.head[4](resized))


def scattered(part):
    """`part` with batch norms that do something."""
    for module in part.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.running_mean)
            module.running_var.uniform_(0.5, 2)
    return part


def normed(maps, norm):
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (maps - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def pointwise(maps, part):
    return normed(torch.einsum("oc,bchw->bohw", part[0].weight[:, :, 0, 0], maps), part[1]).clamp_min(0)


def up(maps):
    return F.interpolate(maps, (11, 17), mode="bilinear", align_corners=True)


def joined(features, finer, part):
    """What the 3×3 convolution of `part.join`, and the norm after it, make of both: the first is resized."""
    seen = torch.cat([up(pointwise(features, part.squeeze)), pointwise(finer, part.detail)], dim=1)
    padded, kernel = F.pad(seen, (1, 1, 1, 1)), part.join[0].weight
    shifts = [(y, x) for y in range(3) for x in range(3)]
    return normed(
        sum(torch.einsum("oc,bchw->bohw", kernel[:, :, y, x], padded[:, :, y : y + 11, x : x + 17]) for y, x in shifts),
        part.join[1],
    )


def test_a_refined_head_adds_what_stage_1_sees():
    torch.manual_seed(0)
    refine = scattered(small_model(head_stride=4).eval().refine)
    features, stage1 = torch.randn(2, 32, 6, 9), torch.randn(2, 8, 11, 17)
    expected = (up(features) + joined(features, stage1, refine)).clamp_min(0)
    torch.testing.assert_close(refine(features, stage1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_sharpened_head_starts_as_a_resize_of_its_logits(backbone):
    model = small_model(backbone=backbone, attention_stride=8, head_stride=2, gamma_init=0.5).eval()
    with torch.inference_mode():
        encoding = model.encode(random_images(50, 70))
        context = model.gather(encoding)
        sharp = model.decode(encoding, context, encoding.stem.shape[2:]).logits
        model.sharpen = None
        coarse = model.decode(encoding, context, encoding.stage1.shape[2:]).logits
    assert encoding.stem.shape[2:] == (25, 35) and encoding.stage1.shape[2:] == (13, 18)
    torch.testing.assert_close(sharp, F.interpolate(coarse, (25, 35), mode="bilinear", align_corners=True))


def test_a_sharpened_head_adds_what_the_stem_sees():
    torch.manual_seed(0)
    sharpen = scattered(small_model(head_stride=2).eval().sharpen)
    nn.init.normal_(sharpen.predict.weight)
    nn.init.normal_(sharpen.predict.bias)
    logits, features, stem = torch.randn(2, 5, 6, 9), torch.randn(2, 32, 6, 9), torch.randn(2, 16, 11, 17)
    added = torch.einsum(
        "oc,bchw->bohw", sharpen.predict.weight[:, :, 0, 0], joined(features, stem, sharpen).clamp_min(0)
    )
    expected = up(logits) + added + sharpen.predict.bias[:, None, None]
    torch.testing.assert_close(sharpen(logits, features, stem), expected, rtol=1e-4, atol=1e-4)


def test_the_parts_compose_to_the_forward():
    model = small_model(gamma_init=0.5).eval()
    images = random_images(50, 70)
    with torch.inference_mode():
        encoding = model.encode(images)
        parts = model.decode(encoding, model.gather(encoding), (50, 70))
        for composed, whole in zip(parts, model(images), strict=True):
            assert torch.equal(composed, whole)


@pytest.mark.parametrize(
    "shape", [(1, 3, 31, 64), (1, 3, 64, 31), (3, 64, 64), (1, 1, 64, 64), (1, 4, 64, 64)], ids=str
)
def test_images_that_do_not_fit_are_named(shape):
    with pytest.raises(ValueError, match=r"must be B×3×H×W with at least 32 pixels a side") as caught:
        small_model()(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(
    ("context", "gate", "lr_kernel"),
    [("nl", None, None), ("nl+gr", "binary", None), ("nl+lr", None, 5), ("dnl", "binary", 5)],
)
def test_context_switches_the_halves_of_the_block(context, gate, lr_kernel):
    block = small_model(context=context, gate="binary", lr_kernel=5, lr_weights="box", gamma_init=0.25).context
    assert (block.gate, block.lr_kernel) == (gate, lr_kernel)
    assert block.lr_weights == "box"
    assert block.gamma.item() == 0.25


def test_contexts_differ_in_the_block_alone():
    keys = {context: set(small_model(context=context).state_dict()) for context in CONTEXTS}
    assert keys["nl"] == keys["nl+gr"] == keys["nl+lr"] == keys["dnl"]
    block = {f"context.{name}" for name in ("gamma", "query.weight", "key.weight", "value.weight")}
    assert keys["dnl"] - keys["fcn"] == block
    assert not keys["fcn"] - keys["dnl"]


def test_with_gamma_zero_the_block_adds_nothing():
    dnl, fcn = small_model(context="dnl").eval(), small_model(context="fcn").eval()
    fcn.load_state_dict({key: tensor for key, tensor in dnl.state_dict().items() if not key.startswith("context.")})
    images = random_images(40, 56)
    with torch.inference_mode():
        assert torch.equal(dnl(images).logits, fcn(images).logits)
        dnl.context.gamma.fill_(0.5)
        assert not torch.equal(dnl(images).logits, fcn(images).logits)


def test_evaluation_is_deterministic_and_training_drops_out():
    model = small_model(gamma_init=0.5, skip_dropout=0.5)
    images = random_images(40, 56, batch=2)
    with torch.no_grad():
        first, second = model(images), model(images)
        assert not torch.equal(first.logits, second.logits)
        model.eval()
        for once, again in zip(model(images), model(images), strict=True):
            assert torch.equal(once, again)


def test_an_image_is_predicted_alike_alone_and_in_a_batch():
    model = small_model(gamma_init=0.5).eval()
    images = random_images(40, 56, batch=3)
    with torch.inference_mode():
        torch.testing.assert_close(model(images).logits[1:2], model(images[1:2]).logits, rtol=1e-4, atol=1e-4)


def test_gradients_reach_every_parameter():
    model = small_model(gamma_init=0.5)
    output = model(random_images(40, 56, batch=2))
    # GR's prediction gets gradients from the main logits too, through the gate.
    output.logits.square().mean().backward(retain_graph=True)
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.class_head.parameters())
    assert all(parameter.grad is None for parameter in model.shallow_head.parameters())
    output.aux_shallow.square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize(("backbone", "expansion"), [("resnet18", 1), ("resnet34", 1), ("resnet50", 4)])
def test_channels_scale_with_the_width(backbone, expansion):
    with torch.device("meta"):
        model = build_model(ModelConfig(backbone=backbone, width=16))
    assert model.backbone.channels == (32 * expansion, 64 * expansion, 128 * expansion)
    assert model.context.value.in_channels == (64 if expansion == 1 else 128)
    assert model.context.query.out_channels == model.context.value.in_channels // 8


def test_the_classic_stem_has_one_7x7_convolution():
    model = small_model(deep_stem=False).eval()
    assert [module.kernel_size for module in model.backbone.stem if isinstance(module, nn.Conv2d)] == [(7, 7)]
    with torch.inference_mode():
        assert model(random_images(33, 47)).logits.shape == (1, 5, 33, 47)


def test_weights_start_kaiming_normal_and_batch_norms_at_one_and_zero():
    model = small_model(width=32)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.05)
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


def test_a_closed_skip_leaves_the_head_with_the_context_alone():
    torch.manual_seed(0)
    model = small_model(gamma_init=0.5)
    images = torch.randn(1, 3, 48, 64)
    model.eval().close_skip()
    encoding = model.encode(images)
    context = model.gather(encoding)
    without = model.decode(encoding._replace(stage4=torch.zeros_like(encoding.stage4)), context, (48, 64))
    torch.testing.assert_close(model.decode(encoding, context, (48, 64)).logits, without.logits)
    other = model.decode(encoding, context + torch.randn_like(context), (48, 64))
    assert not torch.allclose(other.logits, without.logits)
