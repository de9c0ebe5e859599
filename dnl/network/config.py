"""The network's configuration, stored in every checkpoint."""

from dataclasses import dataclass, fields

from dnl.attention import GATES, LR_WEIGHTS
from dnl.untrusted import require_type, shortened

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
EFFICIENTNET = "efficientnet_lite0"
BACKBONES = (*RESNETS, EFFICIENTNET)
CONTEXTS = ("fcn", "nl", "nl+gr", "nl+lr", "dnl")
ATTENTION_STRIDES = (8, 16)
HEAD_STRIDES = (2, 4, 8)
MAX_WIDTH = 256  # ResNet-101 has a thousand million weights then
MAX_CLASSES = 255  # label images hold a byte a pixel, and one value means "no class"


@dataclass(frozen=True)
class ModelConfig:
    """What `dnl.build_model` builds. The defaults are the reference release's network for Cityscapes.

    Raises ValueError, naming the choices, when a field does not fit.
    """

    backbone: str = "resnet101"
    width: int = 64  # channels of stage 1; every other count scales with it (efficientnet_lite0: those of the heads)
    num_classes: int = 19
    context: str = "dnl"  # fcn: no attention; nl: plain non-local; nl+gr, nl+lr: one half; dnl: both
    gate: str = "sigmoid"  # GR gate; sigmoid is what the release computes
    lr_kernel: int = 3  # side of the LR window in cells
    lr_weights: str = "learnt"  # box: a constant in LR's place, as a control
    attention_stride: int = 16  # pixels per attention cell; 8 keeps thin classes visible
    head_stride: int = 8  # pixels per cell of the main head's prediction; 4 adds stage 1 to it, 2 the stem too
    deep_stem: bool = True  # False: the classic 7×7 stem, for torchvision's ImageNet weights
    stem_expansion: int = 2  # the deep stem's last channels over width; 1 for OpenMMLab's and timm's ResNet-C weights
    gamma_init: float = 0.0  # 0 in the release; attention trained from scratch needs more to come alive
    head_dropout: float = 0.05  # Dropout2d before each prediction
    skip_dropout: float = 0.0  # Dropout2d on the stage-4 skip, so that the head cannot do without the attention

    def __post_init__(self):
        _require_choice("backbone", self.backbone, BACKBONES)
        _require_choice("context", self.context, CONTEXTS)
        _require_choice("gate", self.gate, GATES)
        _require_choice("lr_weights", self.lr_weights, LR_WEIGHTS)
        _require_choice("attention_stride", self.attention_stride, ATTENTION_STRIDES)
        _require_choice("head_stride", self.head_stride, HEAD_STRIDES)
        for field in fields(self):
            require_type(field.name, getattr(self, field.name), type(field.default))
        if not 8 <= self.width <= MAX_WIDTH or self.width % 8:
            raise ValueError(f"width is {shortened(self.width)}; it must be a multiple of 8 in 8 … {MAX_WIDTH}")
        if not 2 <= self.num_classes <= MAX_CLASSES:
            raise ValueError(
                f"num_classes is {shortened(self.num_classes)}; segmentation needs at least 2, at most {MAX_CLASSES}"
            )
        if self.lr_kernel < 1 or self.lr_kernel % 2 == 0:
            raise ValueError(f"lr_kernel is {shortened(self.lr_kernel)}; it must be odd: 1, 3, 5 …")
        if self.backbone == EFFICIENTNET:
            for name, own in (("deep_stem", True), ("stem_expansion", 2)):
                if getattr(self, name) != own:
                    raise ValueError(f"{name} is {getattr(self, name)}; it is of ResNets alone, so leave it at {own}")
        if self.stem_expansion not in ((1, 2) if self.deep_stem else (2,)):
            choices = "1 or 2" if self.deep_stem else "left at 2 without the deep stem"
            raise ValueError(f"stem_expansion is {shortened(self.stem_expansion)}; it must be {choices}")
        for name in ("head_dropout", "skip_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie in 0 … 1, below 1")

    @property
    def uses_gate(self) -> bool:
        """Whether the block has GR."""
        return self.context in ("nl+gr", "dnl")

    @property
    def uses_retention(self) -> bool:
        """Whether the block has LR."""
        return self.context in ("nl+lr", "dnl")


def _require_choice(field: str, value, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(f"{field} is {shortened(value)}; choose one of {', '.join(map(str, choices))}")
