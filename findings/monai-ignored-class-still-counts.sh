#!/usr/bin/env bash
# Expected: ignore_index=k, new in MONAI's metrics, leaves the pixels whose label is k out of every score, as the
# docstrings of DiceMetric, MeanIoU, GeneralizedDiceScore and ConfusionMatrixMetric say in the same words ("useful for
# padding, unlabeled regions"); Dice and IoU of one prediction agree by Dice = 2 IoU / (1 + IoU).
# What happens: with k among the classes MeanIoU and ConfusionMatrixMetric leave out the channel k alone. What the
# prediction puts on ignored pixels is still counted as false positive of the class put there, and what is said of k
# elsewhere is forgiven. A prediction that errs on ignored pixels only has Dice 1.00 and IoU 0.67, as without
# ignore_index. Of the docstrings get_confusion_matrix' alone speaks of the channel. With ignore_empty=False the ignored
# class itself enters MeanIoU's mean with an IoU of 1, and DiceMetric's with 1 or 0. A sentinel outside the classes
# (255, all channels 0 there) is left out by all of them.
# seen: monai 1.6.1, torch 2.13.0; a prediction that is wrong on pixels labelled void only, and calls them car
# seen: DiceMetric                 road, car, pole   1.00 0.80 1.00   ignore_index=3 1.00 1.00 1.00   255 1.00 1.00 1.00
# seen: GeneralizedDiceScore       road, car, pole   1.00 0.80 1.00   ignore_index=3 1.00 1.00 1.00   255 1.00 1.00 1.00
# seen: MeanIoU                    road, car, pole   1.00 0.67 1.00   ignore_index=3 1.00 0.67 1.00   255 1.00 1.00 1.00
# seen: ConfusionMatrixMetric, F1  road, car, pole   1.00 0.80 1.00   ignore_index=3 1.00 0.80 1.00   255 1.00 1.00 1.00
# seen: the same, and a tenth of the road called void; ignore_index=3, ignore_empty=False, mean of all four
# seen: DiceMetric                 road, car, pole, void   0.95 1.00 1.00 0.00   mean 0.74
# seen: MeanIoU                    road, car, pole, void   0.90 0.67 1.00 1.00   mean 0.89
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 monai==1.6.1
"$folder/env/bin/python" - <<'PYTHON'
import warnings
from importlib.metadata import version

import torch
from torch.nn.functional import one_hot

warnings.simplefilter("ignore")
from monai.metrics import ConfusionMatrixMetric, DiceMetric, GeneralizedDiceScore, MeanIoU

ROAD, CAR, POLE, VOID = CLASSES = range(4)
COLUMNS, SENTINEL = (20, 20, 10, 10), 255
SCORES = {
    "DiceMetric": lambda **options: DiceMetric(reduction="none", **options),
    "GeneralizedDiceScore": lambda **options: GeneralizedDiceScore(reduction="none", **options),
    "MeanIoU": lambda **options: MeanIoU(reduction="none", **options),
    "ConfusionMatrixMetric, F1": lambda **options: ConfusionMatrixMetric(
        metric_name="f1 score", reduction="none", **options
    ),
}


def maps_of(labels):
    """Labels of height × width to 1 × classes × height × width, all 0 where the label is none of the classes."""
    known = (labels < len(CLASSES)).float()
    return (one_hot(labels * known.long(), len(CLASSES)).movedim(-1, 0) * known)[None]


def scores_of(metric, prediction, truth):
    metric(maps_of(prediction), maps_of(truth))
    found = metric.aggregate()
    return (found[0] if isinstance(found, list) else found).flatten()


print(f"monai {version('monai')}, torch {torch.__version__.partition('+')[0]}", end="; ")
print("a prediction that is wrong on pixels labelled void only, and calls them car")
truth = torch.arange(4).repeat_interleave(torch.tensor(COLUMNS)).expand(40, -1)
prediction = truth.where(truth != VOID, CAR)
marked = truth.where(truth != VOID, SENTINEL)
for name, metric in SCORES.items():
    counted = scores_of(metric(), prediction, truth)[:VOID]
    ignored = scores_of(metric(ignore_index=VOID), prediction, truth)[:VOID]
    sentinel = scores_of(metric(ignore_index=SENTINEL), prediction, marked)[:VOID]
    texts = (" ".join(f"{score:.2f}" for score in scores) for scores in (counted, ignored, sentinel))
    print(f"{name:<26} road, car, pole   {{}}   ignore_index=3 {{}}   255 {{}}".format(*texts))
    assert torch.allclose(sentinel, torch.ones(3)) and counted[CAR] < 0.9
    expected = torch.ones(3) if "Dice" in name else counted
    assert torch.allclose(ignored, expected)

print("the same, and a tenth of the road called void; ignore_index=3, ignore_empty=False, mean of all four")
prediction = prediction.clone()
prediction[:4, : COLUMNS[ROAD]] = VOID
for name in ("DiceMetric", "MeanIoU"):
    scores = scores_of(SCORES[name](ignore_index=VOID, ignore_empty=False), prediction, truth)
    of_classes = " ".join(f"{score:.2f}" for score in scores)
    print(f"{name:<26} road, car, pole, void   {of_classes}   mean {scores.mean():.2f}")
    assert scores[VOID] == (1 if name == "MeanIoU" else 0)
PYTHON
