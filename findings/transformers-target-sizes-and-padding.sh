#!/usr/bin/env bash
# Expected: post_process_semantic_segmentation(outputs, target_sizes=…), handed the photos' own sizes, lays the
# prediction back onto the photos, so that a network that errs nowhere has a mean IoU of 1, whatever other photos were
# in its batch.
# What happens: it stretches all that the network saw over the photo. The same class's preprocessing pads the photos of
# a batch to one size (Mask2Former, MaskFormer and DETR, which say so in pixel_mask) or keeps a square out of the middle
# (MobileViT, MobileNetV2); the way back knows neither. A photo of 480×640 with one of 640×480 beside it is squashed
# upwards, the other to the left, and no score tells that it is not the network that errs. The same outputs with the
# padding cut off first are right.
# seen: transformers 5.24.0, torch 2.13.0; mean IoU of a network that errs nowhere, of a photo of 480×640
# seen: Mask2Former      alone 1.000  beside one of 640×480 0.566  its padding cut off first 1.000
# seen: MaskFormer       alone 1.000  beside one of 640×480 0.567  its padding cut off first 1.000
# seen: Detr             alone 0.997  beside one of 640×480 0.587  its padding cut off first 0.997
# seen: MobileViT        alone 0.828
# seen: MobileNetV2      alone 0.692
# seen: Segformer        alone 1.000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 transformers==5.24.0 pillow==13.0.0
"$folder/env/bin/python" - <<'PYTHON'
import importlib
from types import SimpleNamespace

import numpy as np
import torch
import transformers
from PIL import Image
from torch.nn.functional import interpolate, one_hot

LANDSCAPE, PORTRAIT = (480, 640), (640, 480)
PADDED, CROPPED, WHOLE = ("Mask2Former", "MaskFormer", "Detr"), ("MobileViT", "MobileNetV2"), ("Segformer",)
FOLDERS = {"MobileNetV2": "mobilenet_v2"}


def labels_of(height, width):
    """Class 1 in the lower right, a tenth of the image; class 0 elsewhere."""
    labels = np.zeros((height, width), np.uint8)
    labels[height * 6 // 10 :, width * 3 // 4 :] = 1
    return labels


def processor_of(name):
    folder = FOLDERS.get(name, name.lower())
    module = importlib.import_module(f"transformers.models.{folder}.image_processing_pil_{folder}")
    return getattr(module, f"{name}ImageProcessorPil")()


def given_back(processor, sizes, cut=False):
    """The prediction for the first of these photos, by a network that knows the class of all that it sees."""
    photos = [Image.fromarray(np.repeat(255 * labels_of(*size)[..., None], 3, axis=2)) for size in sizes]
    seen = processor(images=photos, return_tensors="pt", do_normalize=False)
    classes = (seen["pixel_values"].mean(dim=1) > 0.5).long()
    masks = interpolate(one_hot(classes, 2).movedim(-1, 1).float(), scale_factor=1 / 4, mode="area")
    if cut:
        height, width = (int(seen["pixel_mask"][0].any(dim=axis).sum()) // 4 for axis in (1, 0))
        masks = masks[:1, :, :height, :width]
        sizes = sizes[:1]
    logits, queries = 20 * masks - 10, 20 * torch.eye(2, 3).expand(len(masks), 2, 3)
    if "pixel_mask" in seen:
        logits_of = {"masks_queries_logits": logits, "pred_masks": logits}
        outputs = SimpleNamespace(class_queries_logits=queries, logits=queries, **logits_of)
    else:
        outputs = SimpleNamespace(logits=logits)
    return processor.post_process_semantic_segmentation(outputs, target_sizes=list(sizes))[0].numpy()


def mean_iou(prediction, labels):
    assert prediction.shape == labels.shape
    pairs = [(prediction == index, labels == index) for index in (0, 1)]
    return np.mean([(one & other).sum() / (one | other).sum() for one, other in pairs])


versions = f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}"
print(f"{versions}; mean IoU of a network that errs nowhere, of a photo of {LANDSCAPE[0]}×{LANDSCAPE[1]}")
truth = labels_of(*LANDSCAPE)
for name in PADDED + CROPPED + WHOLE:
    processor = processor_of(name)
    alone = mean_iou(given_back(processor, [LANDSCAPE]), truth)
    words = f"{name:<16} alone {alone:.3f}"
    if name in PADDED:
        beside, cut = (mean_iou(given_back(processor, [LANDSCAPE, PORTRAIT], cut), truth) for cut in (False, True))
        words += f"  beside one of {PORTRAIT[0]}×{PORTRAIT[1]} {beside:.3f}  its padding cut off first {cut:.3f}"
        assert alone > 0.97 and beside < 0.7 and cut > 0.99, words
    else:
        assert alone < 0.9 if name in CROPPED else alone > 0.97, words
    print(words)
PYTHON
