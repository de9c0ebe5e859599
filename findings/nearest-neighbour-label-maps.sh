#!/usr/bin/env bash
# Expected: made smaller by nearest neighbour a label map is the same with every common tool, and a transform that takes
# photo and label map together leaves the one on the other.
# What happens: of each block of 8×8 pixels some tools keep the middle one, as a photo that is made smaller does:
# Pillow, scikit-image, kornia, and torch where "nearest-exact" is asked for. The others keep the upper left one:
# OpenCV, torch's "nearest", and with them torchvision's transforms.v2 for tv_tensors.Mask, MONAI and AlbumentationsX.
# There the labels lie 3.5 pixels, almost half a cell, right of and below the photo that was resized in the very same
# call, and thin classes suffer: poles 20 wide against the cells that they fill by half or more have an IoU of 0.72
# instead of 0.94.
# seen: photo − labels: the column that the photo shows less the one that the label is from, rounded where bytes are
# seen: pillow 13.0.0                    keeps pixel 4 of 0 … 7   photo − labels +0.0 pixels   IoU of poles 0.94
# seen: scikit-image 0.26.0              keeps pixel 4 of 0 … 7   photo − labels -0.5 pixels   IoU of poles 0.94
# seen: kornia 0.9.0                     keeps pixel 4 of 0 … 7   photo − labels -0.5 pixels   IoU of poles 0.94
# seen: torch 2.13.0, nearest-exact      keeps pixel 4 of 0 … 7   photo − labels -0.5 pixels   IoU of poles 0.94
# seen: torch 2.13.0, nearest            keeps pixel 0 of 0 … 7   photo − labels +3.5 pixels   IoU of poles 0.72
# seen: opencv-python-headless 5.0.0.93  keeps pixel 0 of 0 … 7   photo − labels +4.0 pixels   IoU of poles 0.72
# seen: torchvision 0.28.0               keeps pixel 0 of 0 … 7   photo − labels +4.0 pixels   IoU of poles 0.72
# seen: monai 1.6.1                      keeps pixel 0 of 0 … 7   photo − labels +3.5 pixels   IoU of poles 0.72
# seen: albumentationsx 2.5.1            keeps pixel 0 of 0 … 7   photo − labels +4.0 pixels   IoU of poles 0.72
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 pillow==13.0.0 opencv-python-headless==5.0.0.93 \
    scikit-image==0.26.0 albumentationsx==2.5.1 kornia==0.9.0 monai==1.6.1
"$folder/env/bin/pip" install --quiet --no-deps torchvision==0.28.0
cat > "$folder/smaller.py" <<'PYTHON'
import os
import sys
import warnings
from importlib.metadata import version

import numpy as np
import torch
from torch.nn.functional import interpolate

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
warnings.simplefilter("ignore")
try:
    import torchvision
except RuntimeError:  # its wheel's operators are compiled for another build of torch; none of them is needed here
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import albumentations
import cv2
import kornia.augmentation
from monai.transforms import Resized
from PIL import Image
from skimage.transform import resize
from torchvision import tv_tensors
from torchvision.transforms import v2

BLOCK, CELLS, POLE = 8, 32, 20
SIDE = BLOCK * CELLS
SIZE = (CELLS, CELLS)


def by_pillow(photo, labels):
    ways = (photo, Image.Resampling.BOX), (labels, Image.Resampling.NEAREST)
    return [np.asarray(Image.fromarray(picture).resize(SIZE, way)) for picture, way in ways]


def by_opencv(photo, labels):
    ways = (photo, cv2.INTER_AREA), (labels, cv2.INTER_NEAREST)
    return [cv2.resize(picture, SIZE, interpolation=way) for picture, way in ways]


def by_scikit_image(photo, labels):
    return resize(photo / 255.0, SIZE, anti_aliasing=True) * 255, resize(labels, SIZE, order=0, preserve_range=True)


def by_torch(mode):
    def smaller(photo, labels):
        photo, labels = (torch.from_numpy(array)[None, None].float() for array in (photo, labels))
        smooth = interpolate(photo, size=SIZE, mode="bilinear", antialias=True)
        return smooth[0, 0].numpy(), interpolate(labels, size=SIZE, mode=mode)[0, 0].numpy()

    return smaller


def by_torchvision(photo, labels):
    both = tv_tensors.Image(torch.from_numpy(photo)), tv_tensors.Mask(torch.from_numpy(labels))
    photo, labels = v2.Resize(SIZE)(*both)
    return photo[0].numpy(), labels.numpy()


def by_kornia(photo, labels):
    both = [torch.from_numpy(array)[None, None].float() for array in (photo, labels)]
    transform = kornia.augmentation.Resize(SIZE, antialias=True)
    photo, labels = kornia.augmentation.AugmentationSequential(transform, data_keys=["input", "mask"])(*both)
    return photo[0, 0].numpy(), labels[0, 0].numpy()


def by_monai(photo, labels):
    both = {"photo": torch.from_numpy(photo)[None].float(), "labels": torch.from_numpy(labels)[None].float()}
    both = Resized(["photo", "labels"], SIZE, mode=["area", "nearest"])(both)
    return both["photo"][0].numpy(), both["labels"][0].numpy()


def by_albumentations(photo, labels):
    both = albumentations.Resize(*SIZE, area_for_downscale="image")(image=photo[..., None], mask=labels)
    return both["image"][..., 0], both["mask"]


WAYS = {
    "pillow": (by_pillow, "middle"),
    "scikit-image": (by_scikit_image, "middle"),
    "kornia": (by_kornia, "middle"),
    "torch, nearest-exact": (by_torch("nearest-exact"), "middle"),
    "torch, nearest": (by_torch("nearest"), "corner"),
    "opencv-python-headless": (by_opencv, "corner"),
    "torchvision": (by_torchvision, "corner"),
    "monai": (by_monai, "corner"),
    "albumentationsx": (by_albumentations, "corner"),
}
columns = np.tile(np.arange(SIDE, dtype=np.uint8), (SIDE, 1))
poles = np.zeros((SIDE, SIDE), np.uint8)
for start in range(15, SIDE - POLE, 41):
    poles[:, start : start + POLE] = 1
half_or_more = poles.reshape(CELLS, BLOCK, CELLS, BLOCK).mean(axis=(1, 3)) >= 0.5
for name, (smaller, kept) in WAYS.items():
    photo, labels = (np.asarray(picture, float)[2:-2, 2:-2] for picture in smaller(columns, columns))
    place, apart = int(labels[0, 0]) % BLOCK, (photo - labels).mean()
    found = np.asarray(smaller(poles, poles)[1]) > 0
    iou = (half_or_more & found).sum() / (half_or_more | found).sum()
    package, _, mode = name.partition(", ")
    name = f"{package} {version(package).partition('+')[0]}" + (f", {mode}" if mode else "")
    words = f"{name:<32} keeps pixel {place} of 0 … {BLOCK - 1}   photo − labels {apart:+.1f} pixels"
    print(f"{words}   IoU of poles {iou:.2f}")
    assert place == (BLOCK // 2 if kept == "middle" else 0)
    assert abs(apart - ((BLOCK - 1) / 2 - place)) < 0.6 and (iou > 0.9) == (kept == "middle")
PYTHON
"$folder/env/bin/python" "$folder/smaller.py"
