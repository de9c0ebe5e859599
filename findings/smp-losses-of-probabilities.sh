#!/usr/bin/env bash
# Expected: with from_logits=False segmentation_models.pytorch's losses take probabilities as they are, so that a
# prediction without an error, 1 for each pixel's class and 0 for the others, has a loss of 0.
# What happens: so it is for DiceLoss, JaccardLoss and TverskyLoss. LovaszLoss takes from_logits and never looks at it:
# several classes go through another softmax, which makes at most 2.7 to 1 of 1 to 0, so that with 19 classes the loss
# of the perfect prediction is 0.87 and that of a wholly wrong one 0.95; with one class probabilities meet a hinge that
# asks for -1 where the object is not. FocalLoss of several classes hands log p to a sigmoid, which makes ½ of p = 1 and
# lets no pixel count as certain. Nothing is said.
# seen: segmentation_models_pytorch 0.6.0, torch 2.13.0; losses of two predictions
# seen: 4 classes   DiceLoss     without an error  0.000   without a right pixel  1.000
# seen: 4 classes   FocalLoss    without an error  0.043   without a right pixel  4.073
# seen: 4 classes   LovaszLoss   without an error  0.525   without a right pixel  0.825
# seen: 19 classes  FocalLoss    without an error  0.009   without a right pixel  0.857
# seen: 19 classes  LovaszLoss   without an error  0.869   without a right pixel  0.952
# seen: binary      FocalLoss    without an error  0.000   without a right pixel 16.001
# seen: binary      LovaszLoss   without an error  0.666   without a right pixel  1.666
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
from torch.nn.functional import one_hot

try:
    import torchvision  # timm needs it
except RuntimeError:  # its wheel's operators are compiled for another build of torch; none of them is needed here
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from segmentation_models_pytorch import losses

RIGHT, WRONG = ("DiceLoss", "JaccardLoss", "TverskyLoss"), ("FocalLoss", "LovaszLoss")
names = ("segmentation_models_pytorch", "torch")
print(", ".join(f"{name} {version(name).partition('+')[0]}" for name in names), end="; ")
print("losses of two predictions")


def cases():
    """Name, mode, labels, the probabilities without an error and those without a right pixel."""
    for classes in (4, 19):
        labels = torch.arange(2 * 38 * 40).reshape(2, 38, 40) % classes
        perfect = one_hot(labels, classes).movedim(-1, 1).float()
        yield f"{classes} classes", "multiclass", labels, perfect, perfect.roll(1, dims=1)
    labels = (torch.arange(2 * 38 * 40).reshape(2, 1, 38, 40) % 3 == 0).float()
    yield "binary", "binary", labels, labels, 1 - labels


for case, mode, labels, perfect, wrong in cases():
    for name in RIGHT + WRONG:
        loss = getattr(losses, name)(mode=mode, from_logits=False)
        of_perfect, of_wrong = (loss(probabilities, labels).item() for probabilities in (perfect, wrong))
        print(f"{case:<10}  {name:<11}  without an error {of_perfect:6.3f}   without a right pixel {of_wrong:6.3f}")
        if name == "LovaszLoss":
            same = losses.LovaszLoss(mode=mode, from_logits=True)(perfect, labels).item()
            assert of_perfect > 0.4 and of_perfect == same
        elif name == "FocalLoss" and mode == "multiclass":
            half = torch.tensor(0.5)
            assert abs(of_perfect - (1 - half) ** 2 * -half.log() / perfect.shape[1]) < 1e-4
        else:
            assert abs(of_perfect) < 1e-4
        assert of_wrong > of_perfect
PYTHON
"$folder/env/bin/python" "$folder/losses.py"
