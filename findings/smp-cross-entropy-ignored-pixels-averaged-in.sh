#!/usr/bin/env bash
# Expected: SoftCrossEntropyLoss and SoftBCEWithLogitsLoss of segmentation_models.pytorch, "drop-in replacements" of
# PyTorch's losses by their docstrings, average over the pixels that are not ignored, as nn.CrossEntropyLoss does: how
# much of a label image is void leaves the loss as it is.
# What happens: ignored pixels get a loss of 0 and are averaged in. With nine tenths of the pixels ignored the loss and
# its gradient are a tenth of nn.CrossEntropyLoss's, with scribbles on one pixel in a hundred a hundredth; beside a Dice
# loss, which does leave them out, the cross-entropy fades away. reduction="sum" agrees with PyTorch.
# seen: segmentation_models_pytorch 0.6.0, torch 2.13.0; loss over that of the pixels that are not ignored
# seen: ignored   0 %   SoftCrossEntropyLoss 1.00   SoftBCEWithLogitsLoss 1.00  nn.CrossEntropyLoss 1.00   gradient 1.00
# seen: ignored  50 %   SoftCrossEntropyLoss 0.50   SoftBCEWithLogitsLoss 0.50  nn.CrossEntropyLoss 1.00   gradient 0.50
# seen: ignored  90 %   SoftCrossEntropyLoss 0.10   SoftBCEWithLogitsLoss 0.10  nn.CrossEntropyLoss 1.00   gradient 0.10
# seen: ignored  99 %   SoftCrossEntropyLoss 0.01   SoftBCEWithLogitsLoss 0.01  nn.CrossEntropyLoss 1.00   gradient 0.01
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/env/bin/pip" install --quiet --no-deps torchvision==0.28.0 timm==1.0.31 segmentation-models-pytorch==0.6.0
"$folder/env/bin/pip" install --quiet pillow==13.0.0 huggingface_hub safetensors pyyaml tqdm
cat > "$folder/losses.py" <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from torch.nn import BCEWithLogitsLoss, CrossEntropyLoss

try:
    import torchvision  # timm needs it
except RuntimeError:  # its wheel's operators are compiled for another build of torch; none of them is needed here
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from segmentation_models_pytorch.losses import SoftBCEWithLogitsLoss, SoftCrossEntropyLoss

CLASSES, VOID, SMOOTH = 4, 255, 0.1
OPTIONS = {"smooth_factor": SMOOTH, "ignore_index": VOID}


def gradient(loss, scores, labels):
    scores = scores.clone().requires_grad_()
    loss(scores, labels).backward()
    return scores.grad


names = ("segmentation_models_pytorch", "torch")
print(", ".join(f"{name} {version(name).partition('+')[0]}" for name in names), end="; ")
print("loss over that of the pixels that are not ignored")
torch.manual_seed(0)
scores = torch.randn(2, CLASSES, 40, 50)
labels = torch.randint(CLASSES, (2, 40, 50))
order = torch.randperm(labels.numel())
for percent in (0, 50, 90, 99):
    marked = labels.clone()
    marked.view(-1)[order[: labels.numel() * percent // 100]] = VOID
    known = marked != VOID
    by_hand = CrossEntropyLoss(label_smoothing=SMOOTH)(scores.movedim(1, -1)[known], marked[known])
    torch_loss, soft_loss = CrossEntropyLoss(label_smoothing=SMOOTH, ignore_index=VOID), SoftCrossEntropyLoss(**OPTIONS)
    several, by_torch = soft_loss(scores, marked) / by_hand, torch_loss(scores, marked) / by_hand
    pull = gradient(soft_loss, scores, marked).norm() / gradient(torch_loss, scores, marked).norm()

    objects = (labels == 0).float().where(known, torch.tensor(float(VOID)))
    one = SoftBCEWithLogitsLoss(ignore_index=VOID)(scores[:, 0], objects)
    one = one / BCEWithLogitsLoss()(scores[:, 0][known], objects[known])
    print(
        f"ignored {percent:>3} %   SoftCrossEntropyLoss {several:.2f}   SoftBCEWithLogitsLoss {one:.2f}"
        f"  nn.CrossEntropyLoss {by_torch:.2f}   gradient {pull:.2f}"
    )
    shares = torch.stack([several, one, pull])
    assert torch.allclose(shares, known.float().mean().expand(3), atol=1e-4)
    assert torch.isclose(by_torch, torch.tensor(1.0))
    summed = SoftCrossEntropyLoss(reduction="sum", **OPTIONS)(scores, marked)
    by_torch = CrossEntropyLoss(reduction="sum", label_smoothing=SMOOTH, ignore_index=VOID)(scores, marked)
    assert torch.isclose(summed, by_torch, rtol=1e-4)
PYTHON
"$folder/env/bin/python" "$folder/losses.py"
