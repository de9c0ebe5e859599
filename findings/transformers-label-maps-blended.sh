#!/usr/bin/env bash
# Expected: an image processor that takes segmentation_maps= beside the images brings the label map to the network's size
# by nearest neighbour, so that it holds the classes that it held before.
# What happens: it depends on the network. MobileViT's and MobileNetV2's do; BEiT's and DPT's resize the map
# as they resize the photo, bicubic, and round: a border between the classes 0 and 140 becomes a ramp through classes that
# are nowhere in the image. Nothing is said; the labels are whole numbers as before.
# seen: transformers 5.19.0, a label map of the classes 0, 3, 7, 140
# seen: MobileViTImageProcessorPil       4 classes: 0 3 7 140
# seen: BeitImageProcessorPil           27 classes: 0 1 2 3 5 6 7 18 …
# seen: DPTImageProcessorPil            61 classes: 0 1 2 3 4 5 6 7 …
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 transformers==5.19.0 pillow==12.3.0
"$folder/env/bin/python" - <<'PYTHON'
import importlib

import numpy as np
import transformers
from PIL import Image

PROCESSORS = {
    "mobilevit": "MobileViTImageProcessorPil",
    "mobilenet_v2": "MobileNetV2ImageProcessorPil",
    "beit": "BeitImageProcessorPil",
    "dpt": "DPTImageProcessorPil",
}
labels = np.zeros((90, 120), np.uint8)
labels[:80, 40:100] = 7
labels[30:60, 70:100] = 3
labels[:80, 100:] = 140
there = set(np.unique(labels).tolist())
photo = Image.fromarray(np.full((90, 120, 3), 128, np.uint8))
print(f"transformers {transformers.__version__}, a label map of the classes {', '.join(map(str, sorted(there)))}")
invented = {}
for folder, name in PROCESSORS.items():
    module = importlib.import_module(f"transformers.models.{folder}.image_processing_pil_{folder}")
    processed = getattr(module, name)()(images=photo, segmentation_maps=Image.fromarray(labels), return_tensors="np")
    found = np.unique(processed["labels"][0]).tolist()
    invented[folder] = len(set(found) - there)
    shown = " ".join(map(str, found[:8])) + (" …" if len(found) > 8 else "")
    print(f"{name:<30} {len(found):3} classes: {shown}")
assert [count > 0 for count in invented.values()] == [False, False, True, True], invented
PYTHON
