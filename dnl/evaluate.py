"""Score a checkpoint: python -m dnl.evaluate --checkpoint NAME|FILE --dataset camvid --data DIR --split val

--gamma overrides the block's γ (0 switches the attention off); --attention puts uniform rows, or the image's mean
row, in place of the learnt attention. Both measure what the attention is worth. --scales, --flip and --window predict
as the literature's best figures do; without them each image is seen once, whole, as it is. Under torchrun the images
are shared among the processes. --json writes the scores to a file.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dnl.checkpoints import differing_classes, label_set_of, load_checkpoint, recipes_of
from dnl.commands import exit_status, program, show_anything
from dnl.datasets import NAMES, LabelledDataset, Look, learnt_from, look_at, open_dataset, split_to_measure
from dnl.distributed import World, joined
from dnl.files import write_json
from dnl.inference import Inference, predict, window_starts
from dnl.metrics import SegmentationScores
from dnl.network import ATTENTION_SOURCES, DenoisedNonLocal2d, ModelConfig, SegmentationNetwork
from dnl.training import GroupedScores, evaluate, evaluate_groups
from dnl.untrusted import one_line

GIB = 2**30
LARGE = 2_000_000  # pixels, of an image whose time and memory are foreseen
WINDOW = 1024  # the side that is advised
TIMED_SIDES = (256, 512)
MOST_SECONDS = 120  # of one image, without a word that it may

# How each score without the learnt attention is had.
REPLACEMENTS: dict[str, dict[str, Any]] = {
    "miou_gamma_0": {"gamma": 0.0},
    "miou_uniform": {"source": "uniform"},
    "miou_mean": {"source": "mean"},
}

Progress = Callable[[Sequence], Iterable]


def alter_attention(model: SegmentationNetwork, *, gamma: float | None = None, source: str = "learnt") -> None:
    """Override γ and the attention's source in place; raises ValueError when the model has no attention block."""
    if gamma is None and source == "learnt":
        return
    block = _attention_block(model)
    block.attention_source = source
    if gamma is not None:
        most = torch.finfo(block.gamma.dtype).max
        if not -most <= gamma <= most:
            raise ValueError(f"γ is {gamma}; it must be a finite number, at most {most:.1e}")
        with torch.no_grad():
            block.gamma.fill_(gamma)


def _attention_block(model: SegmentationNetwork) -> DenoisedNonLocal2d:
    if model.context is None:
        raise ValueError("this checkpoint has no attention block (context fcn); leave --gamma and --attention out")
    return model.context


@contextmanager
def altered_attention(
    model: SegmentationNetwork, *, gamma: float | None = None, source: str = "learnt"
) -> Iterator[None]:
    """`alter_attention` within a `with` block; afterwards γ and source are what they were. Raises as it does."""
    block = _attention_block(model)
    own_gamma, own_source = block.gamma.detach().clone(), block.attention_source
    try:
        alter_attention(model, gamma=gamma, source=source)
        yield
    finally:
        with torch.no_grad():
            block.gamma.copy_(own_gamma)
        block.attention_source = own_source


def measure_scores(model: SegmentationNetwork, dataset: LabelledDataset, *, progress: Progress = iter) -> dict:
    """{"miou", "pixel_accuracy", "iou": {class: …}, "images"}, fractions, over a labelled data set.

    With "groups": {group: mean IoU} where it has more than one.
    """
    scores = evaluate_groups(model, dataset, progress=progress)
    groups = {group: of_group.miou for group, of_group in scores.groups.items()}
    return {**scores.whole._asdict(), "images": len(dataset), **({"groups": groups} if groups else {})}


def measure_worth(
    model: SegmentationNetwork, dataset: LabelledDataset, *, progress: Progress = iter
) -> dict[str, float]:
    """mIoU without the learnt attention: γ = 0, uniform attention, the mean row. The model stays as it was."""
    scores = {}
    for name, alteration in REPLACEMENTS.items():
        with altered_attention(model, **alteration):
            scores[name] = evaluate(model, dataset, progress=progress).miou
    return scores


def foreseen(model: SegmentationNetwork, look: Look, inference: Inference, *, large: bool = True) -> str | None:
    """What the largest image of a data set will take, in a sentence, where it is LARGE; else None.

    Raises ValueError where that is more memory than there is, or more than MOST_SECONDS and it may not be `large`.
    """
    height, width = look.largest
    scale = max(inference.scales)
    pixels = int(height * width * scale**2)
    if pixels <= LARGE:
        return None
    device = next(model.parameters()).device
    window = inference.window
    cut = window is not None and window < scale * max(height, width)
    seen = min(pixels, window**2) if cut and window else pixels
    windowed = f"--window {WINDOW}"
    what = f"the largest image, {height}×{width} pixels,"
    if scale != 1:
        what += f" at {scale:g} times its size,"
    # Windows keep the probabilities of the whole image, and the features of one.
    memory = least_memory(model.config, seen) + 4 * model.config.num_classes * (pixels if cut else 0)
    if memory > (there := memory_there(device)):
        raise ValueError(
            f"{what} takes at least {memory / GIB:.1f} GiB of memory, more than the {there / GIB:.1f} GiB there are; "
            f"{'give a smaller --window' if cut else f'cut it with {windowed}'}, or scale the images down"
        )
    law = time_law(model)
    views = 1 + inference.flip

    def in_windows(side: int) -> float:
        return (
            math.prod(len(window_starts(int(scale * length), side, inference.overlap)) for length in (height, width))
            * views
            * law(side**2)
        )

    seconds = in_windows(window) if cut and window else views * law(pixels)
    sentence = f"{what} takes about {duration(seconds)} and at least {memory / GIB:.1f} GiB of memory"
    if not cut and seconds > in_windows(WINDOW):
        sentence += f"; with {windowed} about {duration(in_windows(WINDOW))}"
    if seconds > MOST_SECONDS and not large:
        raise ValueError(f"{sentence}; scale the images down, or add --large to go on all the same")
    return sentence


def least_memory(config: ModelConfig, pixels: int) -> int:
    """Bytes that an image takes at least when it is seen whole: itself, the stem's features at half size, the scores
    at full size, twice."""
    return 4 * pixels * (3 + 2 * config.width // 4 * 2 + 2 * config.num_classes)


def memory_there(device: torch.device) -> int:
    """Bytes of memory of the device; more than enough where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return sys.maxsize


def time_law(model: SegmentationNetwork) -> Callable[[int], float]:
    """Seconds of an image of so many pixels: a share in proportion to them, of convolutions, and one to their square,
    of attention, as two small images show."""
    return law_of(lambda side: _timed(model, side), TIMED_SIDES)


def law_of(timed: Callable[[int], float], sides: tuple[int, int]) -> Callable[[int], float]:
    """The law of times by pixels, linear and square, that goes through those of two square images."""
    small, large = (side**2 for side in sides)
    short, long = map(timed, sides)
    square = max(0.0, (long / large - short / small) / (large - small))
    linear = max(0.0, long / large - square * large)
    return lambda pixels: linear * pixels + square * pixels**2


def _timed(model: SegmentationNetwork, side: int) -> float:
    """Seconds of a blank image of that side, the shorter of two times."""
    image = np.zeros((side, side, 3), np.uint8)
    seconds = []
    for _ in range(2):
        started = time.monotonic()
        predict(model, image)  # which waits for the device
        seconds.append(time.monotonic() - started)
    return min(seconds)


def duration(seconds: float) -> str:
    """A time for reading, to two digits or so."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.0f} hours"


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    show_anything()
    parser = argparse.ArgumentParser(prog=program("dnl.evaluate"), description="Score a checkpoint.")
    parser.add_argument("--checkpoint", required=True, help="a listed name or a .safetensors file")
    parser.add_argument("--dataset", required=True, choices=NAMES)
    parser.add_argument("--data", help="folder of the data set (streets need none)")
    parser.add_argument("--split", default="val", help="or dev:GROUP, a group (a drive, a city) of train")
    parser.add_argument("--coding", help="how label files store the classes (docs/label-images.md); recognised else")
    parser.add_argument("--gamma", type=float, help="value of the block's γ; 0 switches the attention off")
    parser.add_argument("--attention", default="learnt", choices=ATTENTION_SOURCES)
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0], metavar="FACTOR", help="average over these")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image")
    parser.add_argument("--window", type=int, metavar="PIXELS", help="slide windows of this side over larger images")
    parser.add_argument("--large", action="store_true", help="score images however long one takes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores here")
    options = parser.parse_args(arguments)
    return exit_status(lambda: _evaluate(options))


def _evaluate(options: argparse.Namespace) -> None:
    if options.json and not options.json.parent.is_dir():
        raise ValueError(f"the folder of --json {options.json} does not exist; create it first")
    if options.json and options.json.is_dir():
        raise ValueError(f"--json {options.json} is a folder; name a file")
    with joined() as world:
        scores = _scores(options, world)
        if world.is_main:
            try:
                if options.json:
                    groups = {group: of_group.miou for group, of_group in scores.groups.items()}
                    write_json(options.json, {**scores.whole._asdict(), **({"groups": groups} if groups else {})})
            finally:  # a full disk does not take them away
                show_scores(scores.whole)
                for group, of_group in scores.groups.items():
                    print(f"{one_line(group, 40):>14}  {of_group.miou:.4f} mIoU")


def show_scores(scores: SegmentationScores) -> None:
    """Print IoU by class, mIoU and pixel accuracy."""
    for name, value in scores.iou.items():
        print(f"{name:>14}  {value:.4f}")
    print(f"{'mIoU':>14}  {scores.miou:.4f}\n{'pixel accuracy':>14}  {scores.pixel_accuracy:.4f}")


def _scores(options: argparse.Namespace, world: World) -> GroupedScores:
    model, card = load_checkpoint(options.checkpoint)
    alter_attention(model, gamma=options.gamma, source=options.attention)
    trained = recipes_of(card)
    split = split_to_measure(options.split, trained, options.dataset, options.data)
    dataset = open_dataset(options.dataset, options.data, split, options.coding)
    label_set = label_set_of(card)
    if dataset.label_set.class_names != label_set.class_names:
        differing = differing_classes(label_set.class_names, dataset.label_set.class_names)
        raise ValueError(
            f"the checkpoint {one_line(options.checkpoint, 80)} knows other classes than the data set: {differing}"
        )
    inference = Inference(tuple(options.scales), options.flip, options.window)
    model.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    bar = partial(tqdm, leave=False, delay=1, disable=not world.is_main)
    look = look_at(dataset, progress=bar).require()
    learnt = f"the checkpoint has learnt from images of {split}: these scores flatter it"
    learnt_words = learnt if learnt_from(trained, options.dataset, split) else None
    for sentence in (*look.sentences, learnt_words, foreseen(model, look, inference, large=options.large)):
        if sentence and world.is_main:
            print(sentence, file=sys.stderr)
    return evaluate_groups(
        model,
        dataset,
        inference=inference,
        world=world,
        progress=lambda items: tqdm(items, desc=split, leave=False, disable=not world.is_main),
    )


if __name__ == "__main__":
    sys.exit(main())
