"""Do timm's and mmsegmentation's own ResNets give the features that ours give with their weights?

    PYTHONPATH=.:tests .venv-peers/bin/python -m peers.backbones

Random weights (variances among them), saved by each library as it does and loaded with `load_backbone`; the features of
stages 2, 3 and 4 on one image, with the release's dilations put into the library's network. The largest difference
over the largest feature must stay below 1e-5. ResNet-D and others that compute something else must be refused. Ends
with 1 if anything is wrong.
"""

import sys
import tempfile
from pathlib import Path

import torch
from peers.models import prepare
from torch import nn

from dnl.checkpoints import CheckpointError, load_backbone
from dnl.network import ModelConfig, build_model
from dnl.network.backbone import MULTI_GRID

MOST = 1e-5
SIZE = (72, 104)

# A network of timm's, and the configuration that its file fits; None where it must be refused.
TIMM = {
    "resnet18": {"backbone": "resnet18", "deep_stem": False},
    "resnet50": {"backbone": "resnet50", "deep_stem": False},
    "resnet50c": {"backbone": "resnet50", "stem_expansion": 1},
    "resnet50s": {"backbone": "resnet50"},
    "resnet101c": {"backbone": "resnet101", "stem_expansion": 1},
    "resnet101s": {"backbone": "resnet101"},
    "resnet18d": None,
    "resnet50d": None,
    "resnet50t": None,
    "wide_resnet50_2": None,
    "resnext50_32x4d": None,
    "seresnet50": None,
    "resnet152c": None,
}
# Options of mmsegmentation's ResNet, the file as a whole network or the backbone alone, and the configuration.
MMSEG = {
    "resnet50_v1c": ({"depth": 50, "deep_stem": True}, {"backbone": "resnet50", "stem_expansion": 1}),
    "resnet101_v1c": ({"depth": 101, "deep_stem": True}, {"backbone": "resnet101", "stem_expansion": 1}),
    "resnet18_v1c": ({"depth": 18, "deep_stem": True}, {"backbone": "resnet18", "stem_expansion": 1}),
    "resnet50 of 128 stem channels": ({"depth": 50, "deep_stem": True, "stem_channels": 128}, {"backbone": "resnet50"}),
    "resnet50_v1": ({"depth": 50}, {"backbone": "resnet50", "deep_stem": False}),
    "resnet50_v1d": ({"depth": 50, "deep_stem": True, "avg_down": True}, None),
}


def shaken(network: nn.Module) -> nn.Module:
    """Random norms, so that no statistic is left at its start."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    network.eval()  # mmsegmentation's gives None
    return network


def dilate(network: nn.Module) -> None:
    """Give a ResNet with stages layer1 … layer4 the strides and dilations of the release."""
    for stage, dilation in (("layer3", 2), ("layer4", 4)):
        for index, block in enumerate(getattr(network, stage)):
            own = MULTI_GRID[index % 3] if stage == "layer4" else dilation
            spreads = {"conv2": own} if hasattr(block, "conv3") else {"conv1": own, "conv2": dilation}
            for name, spread in spreads.items():
                convolution = getattr(block, name)
                convolution.stride, convolution.dilation, convolution.padding = (1, 1), (spread,) * 2, (spread,) * 2
            if block.downsample is not None:
                block.downsample[0].stride = (1, 1)


def difference(network: nn.Module, file: Path, config: dict, images: torch.Tensor) -> float:
    """The largest difference of features, over the largest feature."""
    model = build_model(ModelConfig(num_classes=2, context="fcn", **config)).eval()
    load_backbone(file, model)
    seen: dict[str, torch.Tensor] = {}
    for name in ("layer1", "layer2", "layer3", "layer4"):
        getattr(network, name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    dilate(network)
    with torch.inference_mode():
        network(images)
        _, *ours = model.backbone(images)
    return max(
        ((one - other).abs().max() / other.abs().max()).item() for one, other in zip(ours, seen.values(), strict=True)
    )


def judge(name: str, network: nn.Module, content: dict, config: dict | None, images: torch.Tensor) -> bool:
    """Whether a library's file is loaded, or refused, as it must be; prints what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.pth"
        torch.save(content, file)
        if config is not None:
            found = difference(network, file, config, images)
            print(f"{name:36} {found:.1e}", flush=True)
            return found < MOST
        depth = "resnet18" if "18" in name else "resnet50"
        try:
            load_backbone(file, build_model(ModelConfig(depth, num_classes=2, context="fcn", stem_expansion=1)))
        except CheckpointError as error:
            print(f"{name:36} refused: {str(error).replace(str(file), 'it')[:120]}", flush=True)
            return True
    print(f"{name:36} loaded, and should not be", flush=True)
    return False


def main() -> int:
    prepare()
    import timm
    from mmseg.models.backbones import ResNet

    torch.manual_seed(0)
    images = torch.randn(1, 3, *SIZE)
    right = []
    for name, config in TIMM.items():
        network = shaken(timm.create_model(name))
        right.append(judge(f"timm {name}", network, network.state_dict(), config, images))
    for number, (name, (options, config)) in enumerate(MMSEG.items()):
        network = shaken(ResNet(**options))
        content = network.state_dict()
        if number % 2:  # as in a whole segmentation network
            content = {f"backbone.{key}": tensor for key, tensor in content.items()}
            content = {"meta": {"CLASSES": ("road",)}, "state_dict": {**content, "decode_head.bias": torch.zeros(2)}}
        right.append(judge(f"mmsegmentation {name}", network, content, config, images))
    print(f"{sum(right)} of {len(right)} as they must be")
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
