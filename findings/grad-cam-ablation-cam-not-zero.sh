#!/usr/bin/env bash
# Expected: AblationCAM of pytorch-grad-cam weighs each channel by how far the score falls when that channel is set to
# zero, as its README and the paper say.
# What happens: it does so only where the smallest activation of the layer is exactly 0, as after a ReLU. Anywhere else,
# after GELU or SiLU, after a block that ends in a sum, so in vision transformers too, it puts ten million less than the
# smallest value in the channel's place; and since the smallest value is looked for anew among the copies that have
# theirs already, the second channel gets -20 million, the sixteenth -160 million. What is drawn then hangs on the order
# of the channels and on the sign of the weights behind them. Nothing is said, and the map is scaled to 0 … 1 as ever.
# seen: grad-cam 1.5.7, torch 2.13.0; twelve random networks each, correlation with the map that zeroing gives
# seen: layer ends in ReLU      smallest value put in             0   correlation  1.00 on average,  1.00 at least
# seen: layer ends in GELU      smallest value put in  -160,000,000   correlation  0.21 on average, -0.17 at least
# seen: layer ends in SiLU      smallest value put in  -160,000,000   correlation  0.18 on average, -0.20 at least
# seen: layer ends in a sum     smallest value put in  -160,000,000   correlation -0.11 on average, -0.41 at least
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 opencv-python-headless==5.0.0.93 scikit-learn==1.9.1 \
    pillow==13.0.0 matplotlib==3.11.2 tqdm
"$folder/env/bin/pip" install --quiet --no-deps torchvision==0.28.0 grad-cam==1.5.7 ttach==0.0.3
cat > "$folder/maps.py" <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import torch
from torch import nn

try:
    import torchvision  # grad-cam needs it
except RuntimeError:  # its wheel's operators are compiled for another build of torch; none of them is needed here
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from pytorch_grad_cam import AblationCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

CHANNELS, CLASSES, SIDE, NETWORKS = 16, 5, 12, 12
ENDS = {"ReLU": nn.ReLU, "GELU": nn.GELU, "SiLU": nn.SiLU, "a sum": nn.Identity}


class Network(nn.Module):
    def __init__(self, end):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, padding=1), end())
        head = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.head = nn.Sequential(*head, nn.Linear(CHANNELS, CLASSES))

    def forward(self, image):
        return self.head(self.features(image))


@torch.no_grad()
def by_zeroing(network, image, target):
    features = network.features(image)
    score = network.head(features)[0, target]
    total = 0
    for channel in range(CHANNELS):
        without = features.clone()
        without[:, channel] = 0
        total = total + (score - network.head(without)[0, target]) / score * features[0, channel]
    return total.clamp(min=0).numpy()


names = ("grad-cam", "torch")
print(", ".join(f"{name} {version(name).partition('+')[0]}" for name in names), end="; ")
print("twelve random networks each, correlation with the map that zeroing gives")
for end, layer in ENDS.items():
    correlations, smallest = [], 0.0
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        network, image = Network(layer).eval(), torch.randn(1, 3, SIDE, SIDE)
        target = int(network(image).argmax())
        handed_on = []
        network.head.register_forward_pre_hook(lambda module, given: handed_on.append(given[0].min().item()))
        with AblationCAM(network, [network.features]) as cam:
            drawn = cam(image, [ClassifierOutputTarget(target)])[0]
        smallest = min(smallest, *handed_on)
        correlations.append(np.corrcoef(drawn.ravel(), by_zeroing(network, image, target).ravel())[0, 1])
    mean, least = np.mean(correlations), min(correlations)
    words = f"layer ends in {end:<8}  smallest value put in {smallest:>13,.0f}"
    print(f"{words}   correlation {mean:5.2f} on average, {least:5.2f} at least")
    if end == "ReLU":
        assert smallest == 0 and least > 0.999
    else:
        assert smallest <= -1e7 * CHANNELS and mean < 0.6
PYTHON
"$folder/env/bin/python" "$folder/maps.py" 2> "$folder/progress" || { cat "$folder/progress"; exit 1; }
