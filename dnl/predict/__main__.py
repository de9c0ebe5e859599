"""Predict photos or a data set: python -m dnl.predict --checkpoint NAME|FILE --data FILE|FOLDER|GLOB --out DIR

Writes DIR/labels (class indices with the palette), DIR/colours and DIR/overlays, PNG files named like the images;
--probabilities adds DIR/probabilities/NAME.npz and --confidence DIR/confidence/NAME.png. With --dataset and --split it
is a data set's images, and where these have labels of the checkpoint's classes their scores are printed. The label
images of Cityscapes, ADE20K and VOC are written as their servers take them; --labels says so for plain photos.
--scales, --flip and --window are those of dnl.evaluate. A run that was stopped goes on where it was; under torchrun
the images are shared among the processes, which must share the folder DIR.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from dnl.checkpoints import checkpoint_hash, differing_classes, label_set_of, load_checkpoint
from dnl.classes import LabelSet
from dnl.codings import same_classes
from dnl.commands import exit_status, in_one_line, program, show_anything
from dnl.datasets import NAMES, LabelledDataset, Look, look_at, open_dataset
from dnl.distributed import World, joined, total
from dnl.evaluate import foreseen, show_scores
from dnl.files import VERSION
from dnl.inference import Inference
from dnl.metrics import segmentation_scores
from dnl.predict import (
    LABEL_FORMATS,
    LabelFormat,
    Outcome,
    Photos,
    Pictures,
    PredictionFolder,
    label_format,
    predict_images,
)
from dnl.predict.label_files import INDICES, SERVERS

SPLIT = "val"  # of a data set, where none is named


class PredictionError(ValueError):
    """A prediction that cannot be made; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    show_anything()
    options = _parser().parse_args(arguments)
    kept = f"interrupted: finished images are kept in {options.out}; run the same command again to go on"
    return exit_status(lambda: _predict(options), told=partial(in_one_line, interrupted=kept))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program("dnl.predict"), description="Predict photos or a data set.")
    parser.add_argument("--checkpoint", required=True, help="a listed name or a .safetensors file")
    parser.add_argument(
        "--data", nargs="+", metavar="PATH", help="photos, folders of photos, patterns; with --dataset its folder"
    )
    parser.add_argument("--dataset", choices=NAMES, help="predict a split of this data set (streets need no --data)")
    parser.add_argument("--split", help=f"split of the data set ({SPLIT})")
    parser.add_argument(
        "--coding", help="how its label files store the classes (docs/label-images.md); recognised else"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the predictions")
    parser.add_argument(
        "--labels",
        choices=LABEL_FORMATS,
        help="how label images are written: class indices, or as the server of that data set takes them; by default "
        f"that of --dataset, else {INDICES}",
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="write those of all classes, float16 in .npz files"
    )
    parser.add_argument("--confidence", action="store_true", help="write that of the predicted class, grey 0 … 255")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0], metavar="FACTOR", help="average over these")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image")
    parser.add_argument("--window", type=int, metavar="PIXELS", help="slide windows of this side over larger images")
    return parser


def _predict(options: argparse.Namespace) -> None:
    started = time.monotonic()
    inference = Inference(tuple(options.scales), options.flip, options.window)
    with joined() as world:
        model, card = load_checkpoint(options.checkpoint)
        label_set = label_set_of(card)
        images, look, notes = _opened(options, label_set, world)
        labels = label_format(options.labels or _usual_format(images.label_set, label_set), label_set)
        pictures = Pictures(labels, options.probabilities, options.confidence)
        if isinstance(images, Photos):
            _require_files(images.names, pictures)
        folder = PredictionFolder(options.out, _facts(options, label_set, inference, labels.key), pictures)
        model.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for sentence in (*notes, foreseen(model, look, inference)):
            if sentence and world.is_main:
                print(sentence, file=sys.stderr)
        if world.is_main:
            folder.open()
        total(torch.zeros(1, device=world.device))  # the others begin when the folder is there
        outcome = predict_images(
            model,
            images,
            inference,
            folder,
            world=world,
            progress=lambda items: tqdm(items, desc="predicted", leave=False, disable=not world.is_main),
            tell=lambda sentence: tqdm.write(sentence, file=sys.stderr),
        )
    if world.is_main:
        _show(options, outcome, labels, time.monotonic() - started)


def _opened(
    options: argparse.Namespace, label_set: LabelSet, world: World
) -> tuple[LabelledDataset, Look, Sequence[str]]:
    """The images, a look at them, and what is to be said of them."""
    if options.dataset is None:
        if not options.data:
            raise PredictionError("there is nothing to predict: name photos with --data, or a data set with --dataset")
        if options.split or options.coding:
            raise PredictionError("--split and --coding are of a data set: name it with --dataset, or leave them out")
        photos = Photos(options.data)
        return photos, Look(len(photos), largest=photos.largest()), photos.notes() if world.is_main else []
    if options.data and len(options.data) > 1:
        raise PredictionError(f"--dataset {options.dataset} takes one folder; --data names {len(options.data)}")
    dataset = open_dataset(
        options.dataset, options.data[0] if options.data else None, options.split or SPLIT, options.coding
    )
    look = look_at(dataset, progress=partial(tqdm, leave=False, delay=1, disable=not world.is_main)).require()
    if dataset.label_set.class_names == label_set.class_names:
        return dataset, look, look.sentences
    differing = differing_classes(label_set.class_names, dataset.label_set.class_names)
    unscored = f"no scores: the checkpoint knows other classes than the data set: {differing}"
    return dataset, look, [*look.sentences, unscored]


def _usual_format(images: LabelSet, network: LabelSet) -> str:
    """The format of a benchmark's own images by a network of its classes, else class indices."""
    fitting = (key for key, public in SERVERS.items() if images is public and same_classes(network, public))
    return next(fitting, INDICES)


def _require_files(names: Sequence[str], pictures: Pictures) -> None:
    """Refuse names that the labels' server does not know, and two that it would not tell apart."""
    first: dict[str, str] = {}
    for name in names:
        file = pictures.labels.file_of(name)
        if file in first:
            raise PredictionError(f"{first[file]} and {name} would both be labels/{file}; rename one of them")
        first[file] = name


def _facts(options: argparse.Namespace, label_set: LabelSet, inference: Inference, labels: str) -> dict:
    """What the files' contents depend on."""
    return {
        "version": VERSION,
        "checkpoint": options.checkpoint,
        "sha256": checkpoint_hash(options.checkpoint),
        "classes": list(label_set.class_names),
        "labels": labels,
        "inference": {**asdict(inference), "scales": list(inference.scales)},
    }


def _show(options: argparse.Namespace, outcome: Outcome, labels: LabelFormat, seconds: float) -> None:
    """Print what was done, and the scores where there are any. Raises PredictionError where images were left out."""
    there = f", {outcome.kept} were there before" if outcome.kept else ""
    made = f"{_images(outcome.made)} predicted in {seconds:.1f} s{there}"
    print(f"{made}; {options.out / 'labels'} holds {labels.words}")
    if outcome.failed:
        more = f" (and {outcome.failed - 1} more)" if outcome.failed > 1 else ""
        which = outcome.failures[0] if outcome.failures else "each is named above"
        unscored = "" if outcome.confusion is None else ", so there are no scores"
        raise PredictionError(f"{_images(outcome.failed)} could not be predicted{unscored}: {which}{more}")
    if outcome.confusion is not None and outcome.confusion.any():
        show_scores(segmentation_scores(outcome.confusion, labels.label_set.class_names))


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


if __name__ == "__main__":
    sys.exit(main())
