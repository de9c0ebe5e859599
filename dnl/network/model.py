"""The whole segmentation network around the Denoised Non-local block, and its builder.

Dilated ResNet -> reduce -> down -> attention -> fuse -> main head over [stage 4, context]. Auxiliary heads sit on
stage 2 and on stage 3; the latter's class-level prediction feeds GR. The layout is the reference release's. Unlike it,
every resize goes to the size of the map it joins, so that any input of at least 32 pixels a side works; and the main
head can be finer, with stage 1 beside its features (`head_stride=4`), and the stem beside those (2).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnl.classes import LabelSet
from dnl.network.backbone import BasicBlock, DilatedResNet, conv3x3, conv_norm_relu
from dnl.network.block import DenoisedNonLocal2d
from dnl.network.config import EFFICIENTNET, ModelConfig
from dnl.network.efficientnet import EfficientNetLite0

MIN_SIDE = 32


class SegmentationOutput(NamedTuple):
    """Class logits, each B×classes×H×W at the size of the images: main, stage-2 and stage-3 (GR's) prediction."""

    logits: Tensor
    aux_shallow: Tensor
    aux_class: Tensor


class Encoding(NamedTuple):
    """What the attention block sees and what is decoded beside it.

    features: B×C×h×w, the block's input. class_logits: B×classes at stride 8, GR's class-level prediction.
    stem: the backbone's map at stride 2, where something sees it. stage1: that at stride 4. stage2, stage4: those at
    stride 8.
    """

    features: Tensor
    class_logits: Tensor
    stem: Tensor | None
    stage1: Tensor
    stage2: Tensor
    stage4: Tensor


class LateralConnection(nn.Module):
    """A finer map of the backbone concatenated to features of the main head, each brought to fewer channels."""

    def __init__(self, channels: int, kept: int, finer_channels: int, added: int):
        super().__init__()
        self.squeeze = _conv1x1_norm_relu(channels, kept)
        self.detail = _conv1x1_norm_relu(finer_channels, added)

    def concatenated(self, features: Tensor, finer: Tensor) -> Tensor:
        """features: B×channels×h×w. finer: B×C×H×W. Returns B×(kept + added)×H×W."""
        return torch.cat([resize(self.squeeze(features), finer.shape[2:]), self.detail(finer)], dim=1)


class Refinement(LateralConnection):
    """What stage 1, at stride 4, adds to the head's features, at stride 8 (after DeepLabv3+, Chen et al., 2018).

    It starts as a plain resize: the norm of what is added begins at 0.
    """

    def __init__(self, channels: int, stage1_channels: int):
        half, quarter = channels // 2, channels // 4
        super().__init__(channels, half, stage1_channels, quarter)
        norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(norm.weight)
        self.join = nn.Sequential(conv3x3(half + quarter, channels), norm)

    def forward(self, features: Tensor, stage1: Tensor) -> Tensor:
        """features: B×channels×h×w. stage1: B×C×H×W. Returns B×channels×H×W, none below 0."""
        return F.relu(resize(features, stage1.shape[2:]) + self.join(self.concatenated(features, stage1)))


class Sharpening(LateralConnection):
    """What the stem, at stride 2, adds to the main head's logits, at stride 4.

    It starts as a plain resize: `build_model` has the last convolution begin at 0.
    """

    def __init__(self, channels: int, stem_channels: int, num_classes: int):
        quarter = channels // 4
        super().__init__(channels, quarter, stem_channels, quarter)
        self.join = conv_norm_relu(2 * quarter, 2 * quarter)
        self.predict = nn.Conv2d(2 * quarter, num_classes, 1)

    def forward(self, logits: Tensor, features: Tensor, stem: Tensor) -> Tensor:
        """logits: B×classes×h×w. features: B×channels×h×w, what they come from. stem: B×C×H×W. -> B×classes×H×W."""
        return resize(logits, stem.shape[2:]) + self.predict(self.join(self.concatenated(features, stem)))


class SegmentationNetwork(nn.Module):
    """Injected parts, joined. `context` maps (features, class_logits) to features, or is None for the plain FCN."""

    def __init__(
        self,
        *,
        config: ModelConfig,
        backbone: DilatedResNet | EfficientNetLite0,
        reduce: nn.Module,
        down: nn.Module,
        context: DenoisedNonLocal2d | None,
        fuse: nn.Module,
        skip_dropout: nn.Dropout2d,
        head: nn.Sequential,
        refine: Refinement | None,
        sharpen: Sharpening | None,
        shallow_head: nn.Module,
        class_head: nn.Module,
    ):
        super().__init__()
        self.config = config
        self.label_set: LabelSet | None = None  # what the classes mean; set when a checkpoint is loaded
        self.backbone = backbone
        self.reduce = reduce
        self.down = down
        self.context = context
        self.fuse = fuse
        self.skip_dropout = skip_dropout
        self.head: Any = head  # its parts have no types of their own
        self.refine = refine
        self.sharpen = sharpen
        self.shallow_head = shallow_head
        self.class_head = class_head

    def forward(self, images: Tensor, size: tuple[int, int] | None = None) -> SegmentationOutput:
        """images: B×3×H×W float from `dnl.transforms.normalise`, at least 32 pixels a side.

        size: height and width of the logits; the images' own unless given (a loss on a coarser grid is cheaper).
        """
        encoding = self.encode(images)
        return self.decode(encoding, self.gather(encoding), images.shape[2:] if size is None else size)

    def encode(self, images: Tensor) -> Encoding:
        """images as in `forward`; raises ValueError on others."""
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < MIN_SIDE:
            raise ValueError(
                f"images are {tuple(images.shape)}; they must be B×3×H×W with at least {MIN_SIDE} pixels a side"
            )
        maps = self.backbone(images)
        features = self.down(self.reduce(maps.stage4))
        stem = None if self.sharpen is None else maps.stem  # the largest map: no longer kept than needed
        return Encoding(features, self.class_head(maps.stage3), stem, maps.stage1, maps.stage2, maps.stage4)

    def gather(self, encoding: Encoding) -> Tensor:
        """The context block's output, B×C×h×w; the features themselves without a block."""
        if self.context is None:
            return encoding.features
        return self.context(encoding.features, encoding.class_logits)

    @torch.no_grad()
    def close_skip(self) -> None:
        """Zero what the main head makes of the stage-4 skip, so that all it knows comes through the context."""
        skip_channels = self.backbone.channels[-1]
        self.head[0].weight[:, :skip_channels] = 0

    def decode(self, encoding: Encoding, context: Tensor, size: Sequence[int]) -> SegmentationOutput:
        """The three predictions at `size` = (H, W). context: B×C×h×w, what `gather` gives."""
        logits = self._main_logits(encoding, self.fuse(resize(context, encoding.stage4.shape[2:])))
        return SegmentationOutput(
            resize(logits, size), resize(self.shallow_head(encoding.stage2), size), resize(encoding.class_logits, size)
        )

    def _main_logits(self, encoding: Encoding, context: Tensor) -> Tensor:
        """The main prediction at `head_stride`. context: B×C×h×w at stride 8."""
        joined = torch.cat([self.skip_dropout(encoding.stage4), context], dim=1)
        if self.refine is None:
            return self.head(joined)
        features = self.refine(self.head[:-2](joined), encoding.stage1)
        logits = self.head[-2:](features)
        return logits if self.sharpen is None else self.sharpen(logits, features, encoding.stem)


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear with align_corners, the one resize of this network: B×C×h×w -> B×C×H×W, size = (H, W)."""
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=True)


def build_model(config: ModelConfig) -> SegmentationNetwork:
    """The network of `config`, freshly initialised (Kaiming-normal with a = 1, batch norms at 1 and 0)."""
    model = assemble(config)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=1)
    if model.sharpen is not None:
        for parameter in model.sharpen.predict.parameters():
            nn.init.zeros_(parameter)
    return model


def assemble(config: ModelConfig) -> SegmentationNetwork:
    """The network of `config`, its convolutions as PyTorch makes them; for weights that come from elsewhere."""
    backbone = build_backbone(config)
    stage2, stage3, stage4 = backbone.channels
    channels = config.width * (8 if config.backbone in ("resnet50", "resnet101") else 4)
    stride = config.attention_stride // 8
    context = None
    if config.context != "fcn":
        context = DenoisedNonLocal2d(
            channels,
            gate=config.gate if config.uses_gate else None,
            lr_kernel=config.lr_kernel if config.uses_retention else None,
            lr_weights=config.lr_weights,
            gamma_init=config.gamma_init,
        )
    return SegmentationNetwork(
        config=config,
        backbone=backbone,
        reduce=conv_norm_relu(stage4, channels),
        down=BasicBlock(channels, channels, stride, downsample=conv_norm_relu(channels, channels, stride)),
        context=context,
        fuse=conv_norm_relu(channels, channels),
        skip_dropout=nn.Dropout2d(config.skip_dropout),
        head=_head(stage4 + channels, channels, config),
        refine=Refinement(channels, backbone.stage1_channels) if config.head_stride <= 4 else None,
        sharpen=Sharpening(channels, backbone.stem_channels, config.num_classes) if config.head_stride == 2 else None,
        shallow_head=_head(stage2, config.width, config),
        class_head=_head(stage3, channels, config),
    )


def build_backbone(config: ModelConfig) -> DilatedResNet | EfficientNetLite0:
    """The backbone of `config`."""
    if config.backbone == EFFICIENTNET:
        return EfficientNetLite0()
    return DilatedResNet(config.backbone, config.width, config.deep_stem, config.stem_expansion)


def _conv1x1_norm_relu(in_channels: int, channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, channels, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _head(in_channels: int, channels: int, config: ModelConfig) -> nn.Sequential:
    return nn.Sequential(
        conv3x3(in_channels, channels),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Dropout2d(config.head_dropout),
        nn.Conv2d(channels, config.num_classes, 1),
    )
