#!/usr/bin/env bash
# Expected: reduction="weighted-imagewise" of segmentation_models.pytorch's metrics gives, as its docstring says, the
# weighted mean over an image's classes, averaged over the images: 1 for a prediction without an error.
# What happens: the weights, which are brought to a sum of 1 first, are multiplied in and the mean is taken over the
# classes once more, so that all comes out divided by the number of classes: the IoU of a prediction without an error
# is 0.25 with four classes and 0.053 with nineteen. Nothing is said. "weighted", over the whole set, had the same
# fault once and is right.
# seen: segmentation_models_pytorch 0.6.0, torch 2.13.0, equal weights
# seen: no error,  2 classes   weighted 1.000  macro-imagewise 1.000  weighted-imagewise 0.500
# seen: no error,  4 classes   weighted 1.000  macro-imagewise 1.000  weighted-imagewise 0.250
# seen: no error, 19 classes   weighted 1.000  macro-imagewise 1.000  weighted-imagewise 0.053
# seen: a fifth wrong, weights 1 … 4: IoU by hand 0.673, given 0.168; F1 by hand 0.805, given 0.201
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/env/bin/pip" install --quiet --no-deps torchvision==0.28.0 timm==1.0.31 segmentation-models-pytorch==0.6.0
"$folder/env/bin/pip" install --quiet pillow==12.3.0 huggingface_hub safetensors pyyaml tqdm
cat > "$folder/scores.py" <<'PYTHON'
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
from segmentation_models_pytorch.metrics import f1_score, get_stats, iou_score

torch.manual_seed(0)
names = ("segmentation_models_pytorch", "torch")
print(", ".join(f"{name} {version(name).partition('+')[0]}" for name in names) + ", equal weights")
for classes in (2, 4, 19):
    labels = torch.arange(2 * 38 * 40).reshape(2, 38, 40) % classes
    stats, weights = get_stats(labels, labels, mode="multiclass", num_classes=classes), [1.0] * classes
    found = {
        "weighted": iou_score(*stats, reduction="weighted", class_weights=weights),
        "macro-imagewise": iou_score(*stats, reduction="macro-imagewise"),
        "weighted-imagewise": iou_score(*stats, reduction="weighted-imagewise", class_weights=weights),
    }
    scores = "  ".join(f"{name} {score:.3f}" for name, score in found.items())
    print(f"no error, {classes:>2} classes   {scores}")
    right = torch.tensor([1, 1, 1 / classes])
    assert torch.allclose(torch.stack(list(found.values())), right, atol=1e-4)

weights = [1.0, 2.0, 3.0, 4.0]
labels = torch.arange(2 * 40 * 40).reshape(2, 40, 40) % len(weights)
wrong = torch.rand(labels.shape) < 0.2
stats = get_stats((labels + wrong) % len(weights), labels, mode="multiclass", num_classes=len(weights))
pairs = []
for name, metric in (("IoU", iou_score), ("F1", f1_score)):
    of_classes = metric(*stats, reduction="none")  # images × classes
    by_hand = (of_classes * torch.tensor(weights)).sum(dim=1).div(sum(weights)).mean()
    given = metric(*stats, reduction="weighted-imagewise", class_weights=weights)
    pairs.append(f"{name} by hand {by_hand:.3f}, given {given:.3f}")
    assert torch.isclose(given * len(weights), by_hand, atol=1e-4) and by_hand > 0.5
print("a fifth wrong, weights 1 … 4: " + "; ".join(pairs))
PYTHON
"$folder/env/bin/python" "$folder/scores.py"
