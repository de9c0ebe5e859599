"""One pair of label maps, many "mIoU": python -m benchmarks.miou prints what each installed library makes of it.

For docs/metrics.md. The libraries are scikit-learn, torchmetrics, segmentation_models.pytorch and cityscapesScripts,
which needs NumPy below 1.24 and so an environment of its own, where `dnl` need not be importable.
"""

import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

CLASSES = ("road", "sidewalk", "building", "sky", "person", "car")  # there is no car in either map
IGNORED = 255
# Cityscapes' own numbers of these classes, and of "unlabeled".
CITYSCAPES_IDS = (7, 8, 11, 23, 24, 26)
CITYSCAPES_UNLABELLED = 0


def label_maps() -> tuple[np.ndarray, np.ndarray]:
    """The truth and the prediction of two images: 2×4×8 uint8 each; 255 in the truth is no label.

    The first image has all classes but the car. The second has no person and no sidewalk, and a person is predicted.
    """
    letters = {name[0] if name != "sky" else "k": index for index, name in enumerate(CLASSES)} | {".": IGNORED}
    truth = ("kkkkbbbb kkbbbbbb rrrpssbb rrrp.sss", "kkkkkkkk bbbbbbbb rrrrrrrr rrrrrr..")
    predicted = ("kkkkbbbb kbbbbbbb rrrpsbbb rrrrrsss", "kkkkkkkb bbbbbbbb rrrrprrr rrrrrrrr")

    def numbers(images: tuple[str, ...]) -> np.ndarray:
        return np.array([[[letters[letter] for letter in row] for row in image.split()] for image in images], np.uint8)

    return numbers(truth), numbers(predicted)


def ours(truth: np.ndarray, prediction: np.ndarray) -> Iterator[tuple[str, float]]:
    from dnl.metrics import confusion_matrix, segmentation_scores

    def score(labels: np.ndarray, predicted: np.ndarray) -> float:
        return segmentation_scores(confusion_matrix(labels, predicted, len(CLASSES), IGNORED), CLASSES).miou

    yield "segmentation_scores of all images' confusion matrix", score(truth, prediction)
    yield "the same image by image, averaged (not ours)", float(np.mean([*map(score, truth, prediction)]))


def scikit_learn(truth: np.ndarray, prediction: np.ndarray) -> Iterator[tuple[str, float]]:
    from sklearn.metrics import jaccard_score

    counted = truth != IGNORED
    yield "jaccard_score(macro) of all pixels", jaccard_score(truth.ravel(), prediction.ravel(), average="macro")
    truth, prediction = truth[counted], prediction[counted]
    yield "jaccard_score(macro) without ignored pixels", jaccard_score(truth, prediction, average="macro")
    every = list(range(len(CLASSES)))
    for absent in (0, 1):
        score = jaccard_score(truth, prediction, average="macro", labels=every, zero_division=absent)
        yield f"the same, labels=all classes, zero_division={absent}", score
    yield "jaccard_score(micro)", jaccard_score(truth, prediction, average="micro")
    yield "jaccard_score(weighted)", jaccard_score(truth, prediction, average="weighted")


def torchmetrics(truth: np.ndarray, prediction: np.ndarray) -> Iterator[tuple[str, float]]:
    import torch
    from torchmetrics.classification import MulticlassJaccardIndex
    from torchmetrics.segmentation import MeanIoU

    count = len(CLASSES)
    labels, predicted = torch.from_numpy(truth).long(), torch.from_numpy(prediction).long()
    index = MulticlassJaccardIndex(count, ignore_index=IGNORED)
    yield "MulticlassJaccardIndex(ignore_index=255)", index(predicted, labels).item()
    # It knows no ignored pixels: give them to a class of their own, in both maps.
    ignored = labels == IGNORED
    labels, predicted = labels.masked_fill(ignored, count), predicted.masked_fill(ignored, count)
    mean = MeanIoU(num_classes=count + 1, input_format="index")
    yield "MeanIoU, ignored pixels a class of their own", mean(predicted, labels).item()
    each = MeanIoU(num_classes=count + 1, input_format="index", per_class=True)(predicted, labels)[:count]
    yield "MeanIoU(per_class=True), that class left out", each[each >= 0].mean().item()


def segmentation_models_pytorch(truth: np.ndarray, prediction: np.ndarray) -> Iterator[tuple[str, float]]:
    import torch
    from segmentation_models_pytorch.metrics import get_stats, iou_score

    labels, predicted = torch.from_numpy(truth).long(), torch.from_numpy(prediction).long()
    stats = get_stats(predicted, labels, mode="multiclass", ignore_index=IGNORED, num_classes=len(CLASSES))
    for reduction in ("macro", "macro-imagewise", "micro", "micro-imagewise"):
        yield f"iou_score(reduction={reduction!r})", iou_score(*stats, reduction=reduction).item()
    for absent in (0.0, float("nan")):
        score = iou_score(*stats, reduction="macro", zero_division=absent).item()
        yield f"iou_score(reduction='macro', zero_division={absent})", score
    summed = [part.sum(0) for part in stats]
    each = iou_score(*summed, reduction="none", zero_division=float("nan"))
    yield "iou_score of the summed counts, reduction='none', zero_division=nan; nanmean", each.nanmean().item()


def cityscapesscripts(truth: np.ndarray, prediction: np.ndarray) -> Iterator[tuple[str, float]]:
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as evaluation
    from PIL import Image

    ids = np.full(256, CITYSCAPES_UNLABELLED, np.uint8)
    ids[: len(CITYSCAPES_IDS)] = CITYSCAPES_IDS
    with tempfile.TemporaryDirectory() as folder:
        files: tuple[list[str], list[str]] = ([], [])
        for kind, maps, paths in zip(("gtFine_labelIds", "predicted"), (truth, prediction), files, strict=True):
            for number, labels in enumerate(maps):
                paths.append(str(Path(folder) / f"town_{number:06d}_000000_{kind}.png"))
                Image.fromarray(ids[labels]).save(paths[-1])
        evaluation.args.quiet = True
        evaluation.args.JSONOutput = evaluation.args.evalInstLevelScore = False
        results = evaluation.evaluateImgLists(files[1], files[0], evaluation.args)
    yield "averageScoreClasses", results["averageScoreClasses"]


LIBRARIES: dict[str, Callable] = {
    "dnl": ours,
    "sklearn": scikit_learn,
    "torchmetrics": torchmetrics,
    "segmentation_models_pytorch": segmentation_models_pytorch,
    "cityscapesscripts": cityscapesscripts,
}


def main() -> None:
    for name, scores in LIBRARIES.items():
        try:
            version = getattr(import_module(name), "__version__", "")
        except ImportError:
            print(f"{name} is not installed here")
            continue
        print(name, version)
        for words, score in scores(*label_maps()):
            print(f"  {score:.4f}  {words}")


if __name__ == "__main__":
    main()
