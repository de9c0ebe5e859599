"""The pair of label maps in docs/metrics.md: our mean IoU by hand."""

from pathlib import Path

import pytest

from benchmarks import miou
from dnl.metrics import confusion_matrix, segmentation_scores

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_our_mean_iou_of_the_pair_is_that_of_the_page():
    truth, prediction = miou.label_maps()
    scores = segmentation_scores(confusion_matrix(truth, prediction, len(miou.CLASSES), miou.IGNORED), miou.CLASSES)
    by_hand = {"road": 19 / 21, "sidewalk": 4 / 5, "building": 20 / 23, "sky": 12 / 14, "person": 1 / 3}
    assert scores.iou == pytest.approx(by_hand)
    assert scores.miou == pytest.approx(sum(by_hand.values()) / 5)
    together, image_by_image = (score for _, score in miou.ours(truth, prediction))
    text = DOCS.read_text(encoding="utf-8")
    assert f"**{together:.4f}**" in text and f"| {image_by_image:.4f} |" in text
