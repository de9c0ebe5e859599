#!/usr/bin/env bash
# Expected: the position attention of MAnet in segmentation_models.pytorch is a non-local block: each cell's row of
# weights is a softmax over all cells and sums to 1, and what a cell gathers is added to that cell.
# What happens: one softmax runs over all pairs of cells together, so that a row sums to a share of 1, another for each
# cell, 1/N in the mean; and the gathered features, cells × channels, are reshaped to channels × height × width without
# being transposed, so that they are added to other cells and channels. With weights by which each cell attends to itself
# alone the block does not give x + f(x) but that with f(x) in another order.
# seen: segmentation_models_pytorch 0.6.0, timm 1.0.31, torch 2.13.0
# seen: 48 cells: all weights sum to 1.000, rows to 0.009 … 0.087
# seen: each cell on itself alone: largest difference from x + f(x) 2.29, from x + f(x) reordered 1.2e-07
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/env/bin/pip" install --quiet --no-deps torchvision==0.28.0 timm==1.0.31 segmentation-models-pytorch==0.6.0
"$folder/env/bin/pip" install --quiet pillow==12.3.0 huggingface_hub safetensors pyyaml tqdm
cat > "$folder/block.py" <<'PYTHON'
import sys
from importlib.metadata import version

import torch

try:
    import torchvision  # timm needs it
except RuntimeError:  # its wheel's operators are compiled for another build of torch; none of them is needed here
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from segmentation_models_pytorch.decoders.manet.decoder import PABBlock

CHANNELS, HEIGHT, WIDTH = 16, 6, 8
CELLS = HEIGHT * WIDTH
torch.manual_seed(0)
block = PABBlock(CHANNELS, 8).eval()
block.out_conv = torch.nn.Identity()
features = torch.randn(1, CHANNELS, HEIGHT, WIDTH)
weights = []
hook = block.map_softmax.register_forward_hook(lambda layer, given, output: weights.append(output))
with torch.no_grad():
    block(features)
hook.remove()
rows = weights[0].reshape(CELLS, CELLS).sum(dim=1)
names = ("segmentation_models_pytorch", "timm", "torch")
print(", ".join(f"{name} {version(name).partition('+')[0]}" for name in names))
print(f"{CELLS} cells: all weights sum to {weights[0].sum():.3f}, rows to {rows.min():.3f} … {rows.max():.3f}")

block.map_softmax.register_forward_hook(lambda layer, given, output: torch.eye(CELLS).reshape(1, -1))
with torch.no_grad():
    result, own = block(features), block.bottom_conv(features)
reordered = own.flatten(2).transpose(1, 2).reshape(own.shape)
apart = [(result - features - other).abs().max().item() for other in (own, reordered)]
print(f"each cell on itself alone: largest difference from x + f(x) {apart[0]:.2f}", end=", ")
print(f"from x + f(x) reordered {apart[1]:.1e}")
assert abs(weights[0].sum() - 1) < 1e-5 and rows.max() < 0.5 and apart[0] > 0.1 and apart[1] < 1e-5
PYTHON
"$folder/env/bin/python" "$folder/block.py"
