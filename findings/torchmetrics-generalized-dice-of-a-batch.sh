#!/usr/bin/env bash
# Expected: generalized_dice_score gives each image of a batch its own score, and GeneralizedDiceScore their mean, so
# that neither an image's companions nor their order change it.
# What happens: a class that an image has not has the weight 1/0 there, and gets in its place the largest weight that it
# has in the images of the same batch, out of a table that is laid out classes × images and read as images × classes, so
# that it often is that of another class. One image and its prediction score 0.994 alone, 0.987 before another image and
# 0.059 after it; a data set's mean hangs on the batch size and on shuffling. With all classes in every image, and with
# weight_type="linear", nothing of it happens.
# seen: torchmetrics 1.9.0, torch 2.13.0; scores of an image without class 2 and with a few pixels predicted as it
# seen: square (default)  alone 0.994  before another 0.987  after it 0.059
# seen: simple            alone 0.994  before another 0.987  after it 0.756
# seen: linear            alone 0.988  before another 0.988  after it 0.988
# seen: mean of the two, batches of 1: 0.997, of 2: 0.530
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from torchmetrics.functional.segmentation import generalized_dice_score
from torchmetrics.segmentation import GeneralizedDiceScore

CLASSES, SIDE = 3, 20
OPTIONS = {"num_classes": CLASSES, "input_format": "index"}


def image(third):
    """Classes 0 and 1 on one half each, and class 2 on the first `third` pixels of one column."""
    labels = torch.zeros(1, SIDE, SIDE, dtype=torch.long)
    labels[:, :, SIDE // 2 :] = 1
    labels[:, :third, 0] = 2
    return labels


def scores(*pairs, **options):
    predictions, labels = (torch.cat(maps) for maps in zip(*pairs))
    return generalized_dice_score(predictions, labels, **OPTIONS, **options)


def with_errors(labels):
    """A prediction in which five pixels are of class 2 that are not."""
    prediction = labels.clone()
    prediction[:, -5:, -1] = 2
    return prediction


without, with_it = image(0), image(4)
one, other = (with_errors(without), without), (with_it, with_it)
print(f"torchmetrics {version('torchmetrics')}, torch {torch.__version__.partition('+')[0]}", end="; ")
print("scores of an image without class 2 and with a few pixels predicted as it")
for options in ({}, {"weight_type": "simple"}, {"weight_type": "linear"}):
    alone, before, after = scores(one, **options)[0], scores(one, other, **options)[0], scores(other, one, **options)[1]
    name = options.get("weight_type", "square (default)")
    print(f"{name:<17} alone {alone:.3f}  before another {before:.3f}  after it {after:.3f}")
    found = torch.stack([alone, before, after])
    assert (found.max() - found.min() < 1e-6) == (name == "linear")

means = []
for size in (1, 2):
    metric = GeneralizedDiceScore(**OPTIONS)
    for start in range(0, 2, size):
        metric.update(*(torch.cat(maps) for maps in zip(*(other, one)[start : start + size])))
    means.append(metric.compute().item())
print(f"mean of the two, batches of 1: {means[0]:.3f}, of 2: {means[1]:.3f}")
assert abs(means[0] - means[1]) > 0.1

full = with_errors(with_it), with_it
assert torch.allclose(scores(full, other)[0], scores(full)[0])
assert torch.allclose(scores(other, full)[1], scores(full)[0])
print("with all classes in both images: the same alone, before and after")
PYTHON
