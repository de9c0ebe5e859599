"""Dilated ResNet of the reference release: output stride 8, deep stem, multi-grid in stage 4.

Stage 3 has dilation 2 throughout; stage 4 has dilations 4, 8, 16 in its blocks. Two-convolution blocks take the
block's dilation in the first convolution and the stage's in the second, as the release does.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

MULTI_GRID = (4, 8, 16)


class BackboneFeatures(NamedTuple):
    """Outputs of the stem's convolutions, B×C×⌈H/2⌉×⌈W/2⌉, and of the four stages, each with its own C.

    Stage 1: B×C×⌈H/4⌉×⌈W/4⌉; the others: B×C×⌈H/8⌉×⌈W/8⌉.
    """

    stem: Tensor
    stage1: Tensor
    stage2: Tensor
    stage3: Tensor
    stage4: Tensor


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut (He et al., 2016)."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        dilation: int = 1,
        stage_dilation: int = 1,
        downsample: nn.Module | None = None,
    ):
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride, dilation)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, 1, stage_dilation)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = downsample
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """B×C×H×W -> B×C′×H′×W′, with C′ = channels · expansion and both sides divided by the stride, rounded up."""
        shortcut = features if self.downsample is None else self.downsample(features)
        out = self.relu(self.bn1(self.conv1(features)))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions and a shortcut (He et al., 2016)."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        dilation: int = 1,
        stage_dilation: int = 1,
        downsample: nn.Module | None = None,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride, dilation)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.downsample = downsample
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """B×C×H×W -> B×C′×H′×W′, with C′ = channels · expansion and both sides divided by the stride, rounded up."""
        shortcut = features if self.downsample is None else self.downsample(features)
        out = self.relu(self.bn1(self.conv1(features)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + shortcut)


LAYOUTS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


class DilatedResNet(nn.Module):
    """Stem and four stages.

    `channels` holds the channel counts of stages 2, 3 and 4, `stem_channels` and `stage1_channels` those before.

    name: a key of LAYOUTS. width: channels of stage 1 before expansion (64 is the published size). stem_expansion: of
    the deep stem's last channels, 2 in the release and 1 in ResNet-C.
    """

    def __init__(self, name: str, width: int = 64, deep_stem: bool = True, stem_expansion: int = 2):
        super().__init__()
        block, depths = LAYOUTS[name]
        stem_channels = stem_expansion * width if deep_stem else width
        self.stem = _deep_stem(stem_channels) if deep_stem else _classic_stem(width)
        out = [width * 2**i * block.expansion for i in range(4)]
        self.stage1 = _stage(block, stem_channels, width, [1] * depths[0])
        self.stage2 = _stage(block, out[0], 2 * width, [1] * depths[1], stride=2)
        self.stage3 = _stage(block, out[1], 4 * width, [2] * depths[2], stage_dilation=2)
        grid = [MULTI_GRID[i % len(MULTI_GRID)] for i in range(depths[3])]
        self.stage4 = _stage(block, out[2], 8 * width, grid, stage_dilation=4)
        self.stem_channels, self.stage1_channels = stem_channels, out[0]
        self.channels = tuple(out[1:])

    def forward(self, images: Tensor) -> BackboneFeatures:
        """images: B×3×H×W, normalised."""
        stem = self.stem[:-1](images)  # all but the pooling
        stage1 = self.stage1(self.stem[-1](stem))
        stage2 = self.stage2(stage1)
        stage3 = self.stage3(stage2)
        return BackboneFeatures(stem, stage1, stage2, stage3, self.stage4(stage3))


def conv3x3(in_channels: int, channels: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """3×3 convolution without bias that keeps the size, but for the stride."""
    return nn.Conv2d(in_channels, channels, 3, stride, padding=dilation, dilation=dilation, bias=False)


def conv_norm_relu(in_channels: int, channels: int, stride: int = 1) -> nn.Sequential:
    """3×3 convolution, batch norm, ReLU."""
    return nn.Sequential(conv3x3(in_channels, channels, stride), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _deep_stem(channels: int) -> nn.Sequential:
    return nn.Sequential(
        *conv_norm_relu(3, channels // 2, stride=2),
        *conv_norm_relu(channels // 2, channels // 2),
        *conv_norm_relu(channels // 2, channels),
        nn.MaxPool2d(3, stride=2, padding=1),
    )


def _classic_stem(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    )


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    channels: int,
    dilations: Sequence[int],
    stride: int = 1,
    stage_dilation: int = 1,
) -> nn.Sequential:
    out_channels = channels * block.expansion
    downsample = None
    if stride != 1 or in_channels != out_channels:
        downsample = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
        )
    blocks = [block(in_channels, channels, stride, dilations[0], stage_dilation, downsample)]
    for dilation in dilations[1:]:
        blocks.append(block(out_channels, channels, 1, dilation, stage_dilation))
    return nn.Sequential(*blocks)
