"""EfficientNet-Lite0 as a backbone (Tan and Le, 2019; "Lite" is Google's variant without squeeze-and-excitation).

A small network whose ImageNet weights are published under the Apache licence 2.0. The published network is kept as it
is, strides included; its maps at strides 8, 16 and 32 are joined at stride 8, where heads and attention work.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnl.network.backbone import BackboneFeatures

# Runs of blocks by stage of a ResNet: kernel, stride of the first, expansion, channels, how many.
STAGES = (
    ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2)),
    ((5, 2, 6, 40, 2),),
    ((3, 2, 6, 80, 3), (5, 1, 6, 112, 3)),
    ((5, 2, 6, 192, 4), (3, 1, 6, 320, 1)),
)
STEM_CHANNELS = 32
NORM_EPSILON = 1e-3
# The published input is (pixel − 127)/128, so ImageNet's normalised channels are multiplied and shifted by these.
INPUT_SCALE = (255 * 0.229 / 128, 255 * 0.224 / 128, 255 * 0.225 / 128)
INPUT_SHIFT = ((255 * 0.485 - 127) / 128, (255 * 0.456 - 127) / 128, (255 * 0.406 - 127) / 128)


class SamePadded(nn.Conv2d):
    """A convolution that pads as TensorFlow's "SAME" does: of an odd number of pixels the last is below and right."""

    def forward(self, features: Tensor) -> Tensor:
        """B×C×H×W -> B×C′×⌈H/stride⌉×⌈W/stride⌉."""
        if self.groups > 1 and features.device.type == "cpu":
            # Under autocast the weights' gradient of a 5×5 depthwise kernel would take 40 times as long as the forward
            # pass, five times as long as in float32.
            with torch.autocast("cpu", enabled=False):
                return super().forward(self._padded(features.float()))
        return super().forward(self._padded(features))

    def _padded(self, features: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        missing = [max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in features.shape[2:]]
        if not any(missing):
            return features
        return F.pad(features, [part for most in reversed(missing) for part in (most // 2, most - most // 2)])


class InvertedResidual(nn.Module):
    """1×1 expansion, depthwise k×k, 1×1 projection, and a shortcut where shapes agree (Sandler et al., 2018)."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = in_channels * expansion
        self.expand = _conv_norm(in_channels, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _conv_norm(inner, inner, kernel, stride, groups=inner)
        self.project = _conv_norm(inner, channels, 1, activated=False)
        self.shortcut = stride == 1 and in_channels == channels

    def forward(self, features: Tensor) -> Tensor:
        """B×C×H×W -> B×C′×H′×W′, both sides divided by the stride, rounded up."""
        out = self.project(self.depthwise(self.expand(features)))
        return out + features if self.shortcut else out


class EfficientNetLite0(nn.Module):
    """Stem and four stages.

    `channels` holds the channel counts of the maps that come out at stride 8, `stem_channels` and `stage1_channels` of
    those at strides 2 and 4.
    """

    def __init__(self):
        super().__init__()
        self.stem = _conv_norm(3, STEM_CHANNELS, 3, stride=2)
        before = (STEM_CHANNELS, *(runs[-1][3] for runs in STAGES))
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            _stage(channels, runs) for channels, runs in zip(before, STAGES, strict=False)
        )
        self.stem_channels, self.stage1_channels, *stages = before
        self.channels = (stages[0], sum(stages[:2]), sum(stages))

    def forward(self, images: Tensor) -> BackboneFeatures:
        """images: B×3×H×W from `dnl.transforms.normalise`. From stage 3 on, each holds those at stride 8 before it."""
        scale, shift = (images.new_tensor(values)[:, None, None] for values in (INPUT_SCALE, INPUT_SHIFT))
        stem = self.stem(images * scale + shift)
        stage1 = self.stage1(stem)
        stage2 = self.stage2(stage1)
        stage3 = self.stage3(stage2)
        to_stage3 = torch.cat([stage2, _resize(stage3, stage2)], dim=1)
        to_stage4 = torch.cat([to_stage3, _resize(self.stage4(stage3), stage2)], dim=1)
        return BackboneFeatures(stem, stage1, stage2, to_stage3, to_stage4)


def _resize(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps, like.shape[2:], mode="bilinear", align_corners=True)


def _stage(in_channels: int, runs: tuple[tuple[int, int, int, int, int], ...]) -> nn.Sequential:
    blocks = []
    for kernel, stride, expansion, channels, count in runs:
        for index in range(count):
            blocks.append(InvertedResidual(in_channels, channels, kernel, 1 if index else stride, expansion))
            in_channels = channels
    return nn.Sequential(*blocks)


def _conv_norm(
    in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1, activated: bool = True
) -> nn.Sequential:
    layers = [
        SamePadded(in_channels, channels, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(channels, eps=NORM_EPSILON),
    ]
    return nn.Sequential(*layers, nn.ReLU6(inplace=True)) if activated else nn.Sequential(*layers)
