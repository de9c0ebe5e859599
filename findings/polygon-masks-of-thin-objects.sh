#!/usr/bin/env bash
# Expected: the same polygon painted into a label image covers the same pixels with every common library, give or take a
# few on slanted edges; a pole of 2×20 units has 40 pixels.
# What happens: Pillow, OpenCV, scikit-image and supervision count both edges in: 3×21 = 63 pixels; COCO's own painter
# gives 40. Held against each other, two paintings of one and the same annotation have an IoU of 0.63, and of 0.48 for a
# pole 1 wide. With corners between whole numbers scikit-image gives 40 pixels too, but half of them are others.
# seen: pillow 12.3.0, opencv-python-headless 5.0.0.93, scikit-image 0.26.0, pycocotools 2.0.11, supervision 0.31.2
# seen: pole 2×20              pillow 63  opencv 63  scikit-image 63  supervision 63  pycocotools 40  IoU 0.63 0.63 0.63 0.63
# seen: pole 1×20              pillow 42  opencv 42  scikit-image 42  supervision 42  pycocotools 20  IoU 0.48 0.48 0.48 0.48
# seen: pole 2×20, not whole   pillow 63  opencv 63  scikit-image 40  supervision 63  pycocotools 40  IoU 0.63 0.63 0.31 0.63
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet numpy==2.4.6 pillow==12.3.0 opencv-python-headless==5.0.0.93 \
    scikit-image==0.26.0 pycocotools==2.0.11 supervision==0.31.2
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import cv2
import numpy as np
import supervision
from PIL import Image, ImageDraw
from pycocotools import mask as coco
from skimage.draw import polygon2mask

SIDE = 40


def pillow(corners):
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).polygon(corners, fill=1)
    return np.asarray(image)


def opencv(corners):
    return cv2.fillPoly(np.zeros((SIDE, SIDE), np.uint8), [np.rint(corners).astype(np.int32)], 1)


def scikit_image(corners):
    return polygon2mask((SIDE, SIDE), np.array(corners)[:, ::-1])


def by_supervision(corners):
    return supervision.polygon_to_mask(np.array(corners), (SIDE, SIDE))


def by_coco(corners):
    return coco.decode(coco.merge(coco.frPyObjects([np.ravel(corners).tolist()], SIDE, SIDE)))


WAYS = {
    "pillow": pillow,
    "opencv": opencv,
    "scikit-image": scikit_image,
    "supervision": by_supervision,
    "pycocotools": by_coco,
}
POLES = {
    "pole 2×20": [(10, 5), (12, 5), (12, 25), (10, 25)],
    "pole 1×20": [(10, 5), (11, 5), (11, 25), (10, 25)],
    "pole 2×20, not whole": [(10.4, 5.2), (12.4, 5.2), (12.4, 25.2), (10.4, 25.2)],
}
print(", ".join(f"{name} {version(name)}" for name in ("pillow", "opencv-python-headless", *list(WAYS)[2:])))
areas = {}
for name, corners in POLES.items():
    masks = {way: paint(corners).astype(bool) for way, paint in WAYS.items()}
    reference = masks["pycocotools"]
    shares = [(mask & reference).sum() / (mask | reference).sum() for mask in masks.values()]
    areas[name] = [int(mask.sum()) for mask in masks.values()]
    counts = "  ".join(f"{way} {area}" for way, area in zip(masks, areas[name]))
    print(f"{name:<22} {counts}  IoU {' '.join(f'{share:.2f}' for share in shares[:-1])}")
assert list(areas.values()) == [[63, 63, 63, 63, 40], [42, 42, 42, 42, 20], [63, 63, 40, 63, 40]]
PYTHON
