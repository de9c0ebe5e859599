#!/usr/bin/env bash
# Expected: torchmetrics' hausdorff_distance and HausdorffDistance give the Hausdorff distance of two masks whatever the
# shape of the image: 0 for a mask and itself, √34 = 5.83 for a square and the same square 3 lower and 5 further right.
# What happens: on square images alone. distance_transform writes each cell's distance to row · height + column of the
# flattened map, where row · width + column is meant. In an image wider than high all distances land in other cells: a
# mask is 17 to 20 pixels from itself, and the number changes with how much empty image lies on the right. Nothing is
# said. An image higher than wide ends in an IndexError, which is what has been reported; there wide images are said to
# work. The same function with engine="scipy", which the metric cannot be told to take, is right.
# seen: torchmetrics 1.9.0, torch 2.13.0, scipy 1.17.1
# seen: image 40×40   a mask and itself       0.00   moved       5.83   moved, by scipy 5.83
# seen: image 40×41   a mask and itself      17.00   moved      20.00   moved, by scipy 5.83
# seen: image 40×60   a mask and itself      19.72   moved      21.54   moved, by scipy 5.83
# seen: image 40×80   a mask and itself      19.00   moved      19.65   moved, by scipy 5.83
# seen: image 60×40   a mask and itself IndexError   moved IndexError   moved, by scipy 5.83
# seen: distance_transform, engine="scipy", of 000000 011110 000000 000000: 000000 011110 000000 000000
# seen: distance_transform, engine="pytorch", of 000000 011110 000000 000000: 000001 111000 000000 000000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0 scipy==1.17.1
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from scipy.spatial.distance import directed_hausdorff
from torchmetrics.functional.segmentation import hausdorff_distance
from torchmetrics.functional.segmentation.utils import distance_transform
from torchmetrics.segmentation import HausdorffDistance

SIZES, SIDE = [(40, 40), (40, 41), (40, 60), (40, 80), (60, 40)], 10
OPTIONS = {"num_classes": 2, "input_format": "index"}


def labels_with_square(size, top, left):
    labels = torch.zeros(1, *size, dtype=torch.long)
    labels[:, top : top + SIDE, left : left + SIDE] = 1
    return labels


def by_scipy(one, other):
    """The same for these filled squares as the distance of their outlines."""
    one, other = (labels[0].nonzero().numpy() for labels in (one, other))
    return max(directed_hausdorff(one, other)[0], directed_hausdorff(other, one)[0])


def by_torchmetrics(one, other):
    metric = HausdorffDistance(**OPTIONS)
    try:
        metric.update(one, other)
    except IndexError as error:
        return type(error).__name__
    found = metric.compute().item()
    assert abs(found - hausdorff_distance(one, other, **OPTIONS).item()) < 1e-4
    return found


def as_text(found):
    return found if isinstance(found, str) else f"{found:.2f}"


print(", ".join(f"{name} {version(name).partition('+')[0]}" for name in ("torchmetrics", "torch", "scipy")))
for size in SIZES:
    truth, prediction = labels_with_square(size, 12, 14), labels_with_square(size, 15, 19)
    itself, moved = by_torchmetrics(truth, truth), by_torchmetrics(prediction, truth)
    right = by_scipy(prediction, truth)
    found = f"a mask and itself {as_text(itself):>10}   moved {as_text(moved):>10}"
    print(f"image {size[0]}×{size[1]}   {found}   moved, by scipy {right:.2f}")
    assert by_scipy(truth, truth) == 0 and abs(right - 34**0.5) < 1e-6
    if size[0] == size[1]:
        assert itself == 0 and abs(moved - right) < 1e-4
    elif size[0] < size[1]:
        assert itself > 1 and abs(moved - right) > 1
    else:
        assert itself == moved == "IndexError"

cells = torch.zeros(4, 6)
cells[1, 1:5] = 1
for engine in ("scipy", "pytorch"):
    rows = torch.as_tensor(distance_transform(cells, engine=engine)).int().tolist()
    found = " ".join("".join(str(cell) for cell in row) for row in rows)
    print(f'distance_transform, engine="{engine}", of 000000 011110 000000 000000: {found}')
    assert (found == "000000 011110 000000 000000") == (engine == "scipy")
PYTHON
