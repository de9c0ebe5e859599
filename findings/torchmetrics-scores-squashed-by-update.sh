#!/usr/bin/env bash
# Expected: the area under the ROC curve depends on the order of the scores alone, and a torchmetrics metric gives the
# same whether the images come in one update or one by one.
# What happens: an update in which any score lies outside 0 … 1 is taken for logits, and all scores of that update go
# through a sigmoid; an update whose scores all lie inside stays as it is. Of two maps one of which has one score of
# 1.2, as scores before the softmax and signed attention have, the AUC is 0.863 in one update and 0.812 in two.
# seen: torchmetrics 1.9.0, torch 2.13.0, scikit-learn 1.9.1
# seen: AUC                scikit-learn 0.8632  one update 0.8632  an update an image 0.8117  the same, scores divided by 2: 0.8632
# seen: average precision  scikit-learn 0.7761  one update 0.7761  an update an image 0.7527  the same, scores divided by 2: 0.7761
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0 scikit-learn==1.9.1
"$folder/env/bin/python" - <<'PYTHON'
import sklearn
import torch
import torchmetrics
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

CELLS = 400
generator = torch.Generator().manual_seed(0)
same_class = (torch.rand(2, CELLS, generator=generator) < 0.3).long()  # of two images
scores = 0.6 * torch.rand(2, CELLS, generator=generator) + 0.3 * same_class
scores[1, 0] = 1.2


def of_updates(metric, *updates):
    for update_scores, truth in updates:
        metric.update(update_scores, truth)
    return metric.compute().item()


versions = {"torchmetrics": torchmetrics, "torch": torch, "scikit-learn": sklearn}
print(", ".join(f"{name} {module.__version__.partition('+')[0]}" for name, module in versions.items()))
for name, metric, reference in (
    ("AUC", BinaryAUROC, roc_auc_score),
    ("average precision", BinaryAveragePrecision, average_precision_score),
):
    expected = reference(same_class.ravel(), scores.ravel())
    one = of_updates(metric(), (scores.ravel(), same_class.ravel()))
    each = of_updates(metric(), *zip(scores, same_class))
    halved = of_updates(metric(), *zip(scores / 2, same_class))
    print(f"{name:<18} scikit-learn {expected:.4f}  one update {one:.4f}  an update an image {each:.4f}", end="  ")
    print(f"the same, scores divided by 2: {halved:.4f}")
    assert abs(one - expected) < 1e-4 and abs(halved - expected) < 1e-4 and abs(each - expected) > 0.01
PYTHON
