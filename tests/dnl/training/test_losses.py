"""The training loss by hand: cross-entropy, class weights, hard pixels, Lovász-softmax."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dnl.network import ModelConfig, SegmentationOutput, build_model
from dnl.training.engine import remove_class_weights
from dnl.training.losses import balanced_class_weights, hard_pixels, label_weight, lovasz_softmax, segmentation_loss


def test_loss_by_hand():
    labels = torch.tensor([[[0, 1, 5]]])
    main = torch.zeros(1, 2, 1, 3)
    sure = torch.zeros(1, 2, 1, 3)
    sure[0, 0, 0, 0] = sure[0, 1, 0, 1] = np.log(3.0)  # probability 3/4 for the right class
    loss = segmentation_loss(SegmentationOutput(main, sure, main), labels, ignore_index=5)
    assert loss.item() == pytest.approx(np.log(2) + 0.4 * (np.log(4 / 3) + np.log(2)), abs=1e-6)
    weighted = segmentation_loss(
        SegmentationOutput(main, main, main), labels, ignore_index=5, class_weights=torch.tensor([3.0, 1.0])
    )
    assert weighted.item() == pytest.approx(1.8 * np.log(2), abs=1e-6)


def test_class_weights_by_hand():
    weights = balanced_class_weights(np.array([900, 100, 0, 100]), largest=3.0)
    assert weights.tolist() == pytest.approx([1 / 3, 1.0, 3.0, 1.0])


def logits_of(probabilities):
    """Two-class logits B×2×1×W under which class 0 has these probabilities."""
    probabilities = torch.tensor(probabilities)[:, None, None]
    return torch.cat([(probabilities / (1 - probabilities)).log(), torch.zeros_like(probabilities)], dim=1)


# Probability of the true class, 0, in two images of five pixels; the last pixel of each has no label.
PROBABILITIES = [[0.9, 0.5, 0.6, 0.2, 0.1], [0.97, 0.99, 0.95, 0.98, 0.1]]
LABELS = torch.tensor([[[0, 0, 0, 0, 7]]] * 2)


@pytest.mark.parametrize(
    ("threshold", "least", "kept"),
    [
        (0.55, 0.0, [[0, 1, 0, 1, 0], [0, 0, 0, 0, 0]]),
        (0.1, 0.0, [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]),
        (0.1, 0.5, [[0, 1, 0, 1, 0], [1, 0, 1, 0, 0]]),
        (0.55, 0.25, [[0, 1, 0, 1, 0], [0, 0, 1, 0, 0]]),  # the second image keeps its hardest of four
        (0.1, 0.3, [[0, 1, 0, 1, 0], [1, 0, 1, 0, 0]]),  # 1.2 of four pixels is rounded up
        (0.0, 1.0, [[1, 1, 1, 1, 0], [1, 1, 1, 1, 0]]),
        (0.96, 0.0, [[1, 1, 1, 1, 0], [0, 0, 1, 0, 0]]),
    ],
)
def test_hard_pixels_by_hand(threshold, least, kept):
    found = hard_pixels(logits_of(PROBABILITIES), LABELS, ignore_index=7, threshold=threshold, least=least)
    assert found[:, 0].int().tolist() == kept


def test_equally_hard_pixels_are_kept_together_and_no_label_keeps_none():
    logits = logits_of([[0.5, 0.5, 0.9, 0.5]])
    labels = torch.zeros(1, 1, 4, dtype=torch.int64)
    assert hard_pixels(logits, labels, ignore_index=7, threshold=0.1, least=0.25)[0, 0].tolist() == [1, 1, 0, 1]
    assert not hard_pixels(logits, labels + 7, ignore_index=7, threshold=0.9, least=1.0).any()


def test_ohem_loss_by_hand():
    output = SegmentationOutput(logits_of(PROBABILITIES[:1]), *[torch.zeros(1, 2, 1, 5)] * 2)
    loss = segmentation_loss(output, LABELS[:1], ignore_index=7, ohem_threshold=0.55, auxiliary_weight=0.5)
    # Two of four labelled pixels are left in the main prediction; the auxiliary ones see all four.
    assert loss.item() == pytest.approx((-np.log(0.5) - np.log(0.2)) / 4 + 2 * 0.5 * np.log(2), abs=1e-6)
    weights = torch.tensor([3.0, 1.0])
    weighted = segmentation_loss(
        output, LABELS[:1], ignore_index=7, ohem_threshold=0.55, auxiliary_weight=0.0, class_weights=weights
    )
    assert weighted.item() == pytest.approx((-np.log(0.5) - np.log(0.2)) / 4, abs=1e-6)


def test_ohem_sends_gradients_to_hard_pixels_alone_and_off_means_off():
    logits = logits_of(PROBABILITIES[:1]).requires_grad_()
    output = SegmentationOutput(logits, *[torch.zeros(1, 2, 1, 5)] * 2)
    segmentation_loss(output, LABELS[:1], ignore_index=7, ohem_threshold=0.55).backward()
    assert (logits.grad.abs().sum(1)[0, 0] > 0).tolist() == [False, True, False, True, False]
    all_pixels = segmentation_loss(output, LABELS[:1], ignore_index=7)
    assert segmentation_loss(output, LABELS[:1], ignore_index=7, ohem_threshold=1.0, ohem_least=0.0) == all_pixels
    assert segmentation_loss(output, LABELS[:1], ignore_index=7, ohem_threshold=0.5, ohem_least=1.0) == all_pixels


def test_what_weighted_cross_entropy_learns_becomes_the_frequencies():
    """A head that sees nothing (zero features) can only learn how frequent the classes are: 5 : 3 : 2, weighted."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone="resnet18", width=8, num_classes=3, context="fcn", head_dropout=0.0))
    weights = torch.tensor([0.5, 1.0, 3.0])
    labels = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    head = model.head[-1]
    torch.nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD([head.bias], lr=1.0)
    for _ in range(500):
        optimizer.zero_grad()
        F.cross_entropy(head.bias.expand(10, 3), labels, weight=weights).backward()
        optimizer.step()
    biased = torch.softmax(head.bias.detach(), 0)
    assert biased.argmax() == 2  # 5·0.5 : 3·1 : 2·3
    torch.testing.assert_close(biased, torch.tensor([2.5, 3.0, 6.0]) / 11.5, rtol=0, atol=1e-3)
    remove_class_weights(model, weights)
    torch.testing.assert_close(torch.softmax(head.bias.detach(), 0), torch.tensor([0.5, 0.3, 0.2]), rtol=0, atol=1e-3)


# --- Lovász-softmax ---------------------------------------------------------------------------------------------------


@pytest.fixture
def output():
    generator = torch.Generator().manual_seed(5)
    return SegmentationOutput(*(torch.randn(2, 3, 2, 4, generator=generator) for _ in range(3)))


def jaccard_loss(truth, prediction):
    """1 − IoU of two masks; 0 where both are empty."""
    union = int((truth | prediction).sum())
    return 1 - int((truth & prediction).sum()) / union if union else 0.0


def slow_lovasz(class_probs, labels, ignore_index):
    """The Lovász extension by its definition: each error × what its pixel adds to 1 − IoU, largest errors first."""
    labelled = labels != ignore_index
    classes = [c for c in range(len(class_probs)) if (labels == c).any()]
    losses = []
    for c in classes:
        truth = (labels == c)[labelled]
        errors = (truth.double() - class_probs[c][labelled]).abs()
        wrong = torch.zeros_like(truth)
        total, before = 0.0, 0.0
        for pixel in errors.argsort(descending=True):
            wrong[pixel] = True
            after = jaccard_loss(truth, truth ^ wrong)
            total += float(errors[pixel]) * (after - before)
            before = after
        losses.append(total)
    return sum(losses) / len(classes) if classes else 0.0


def test_lovasz_softmax_follows_its_definition_on_images_of_any_shape():
    generator = torch.Generator().manual_seed(3)
    class_probs = torch.randn(3, 4, 5, 7, generator=generator, dtype=torch.float64).softmax(1)
    labels = torch.randint(0, 3, (3, 5, 7), generator=generator)  # class 3 is nowhere
    labels[0, :2] = 9
    labels[2] = 9  # an image without any label
    found = lovasz_softmax(class_probs, labels, ignore_index=9)
    expected = [slow_lovasz(class_probs[b], labels[b], 9) for b in range(3)]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    assert found[2] == 0


def test_lovasz_softmax_of_a_hard_prediction_is_one_minus_the_mean_iou():
    labels = torch.tensor([[[0, 0, 0, 1, 1, 1]]])
    prediction = torch.tensor([[[0, 0, 1, 1, 1, 1]]])
    hard = F.one_hot(prediction, 2).permute(0, 3, 1, 2).double()
    # IoU of class 0: 2 of 3 pixels, of class 1: 3 of 4.
    assert lovasz_softmax(hard, labels, ignore_index=9).item() == pytest.approx(1 - (2 / 3 + 3 / 4) / 2)
    assert lovasz_softmax(F.one_hot(labels, 2).permute(0, 3, 1, 2).double(), labels, ignore_index=9).item() == 0


def test_the_parts_of_a_batch_add_up_with_lovasz_softmax_too(output):
    labels = torch.tensor([[[0, 1, 2, 9], [1, 1, 0, 2]], [[2, 2, 9, 9], [0, 1, 2, 0]]])
    options = {"ignore_index": 9, "lovasz_weight": 0.7}
    whole = segmentation_loss(output, labels, **options)
    normaliser = label_weight(labels, ignore_index=9)
    parts = [
        segmentation_loss(
            SegmentationOutput(*(maps[b : b + 1] for maps in output)),
            labels[b : b + 1],
            normaliser=normaliser,
            images=2,
            **options,
        )
        for b in range(2)
    ]
    assert torch.stack(parts).sum() == pytest.approx(whole.item())
    assert whole > segmentation_loss(output, labels, ignore_index=9)


def test_a_coarser_lovasz_grid_takes_every_nth_row_and_column(output):
    labels = torch.tensor([[[0, 1, 2, 9], [1, 1, 0, 2]], [[2, 2, 9, 9], [0, 1, 2, 0]]])
    coarse = segmentation_loss(output, labels, ignore_index=9, lovasz_weight=1.0, lovasz_stride=2)
    surrogate = lovasz_softmax(output.logits.softmax(1)[..., ::2, ::2], labels[:, ::2, ::2], ignore_index=9).mean()
    assert coarse == pytest.approx((segmentation_loss(output, labels, ignore_index=9) + surrogate).item())
