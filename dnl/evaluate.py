"""Score a checkpoint: python -m dnl.evaluate --checkpoint NAME|FILE --dataset camvid --data DIR --split val

--gamma overrides the block's γ (0 switches the attention off); --attention puts uniform rows, or the image's mean
row, in place of the learnt attention. Both measure what the attention is worth. --scales, --flip and --window predict
as the literature's best figures do; without them each image is seen once, whole, as it is. Under torchrun the images
are shared among the processes. --json writes the scores to a file.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from dnl.checkpoints import differing_classes, label_set_of, load_checkpoint
from dnl.commands import exit_status, show_anything
from dnl.datasets import NAMES, open_dataset
from dnl.distributed import World, joined
from dnl.files import write_json
from dnl.inference import Inference
from dnl.metrics import SegmentationScores
from dnl.network import ATTENTION_SOURCES, DenoisedNonLocal2d, SegmentationNetwork
from dnl.training import evaluate
from dnl.untrusted import one_line


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


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    show_anything()
    parser = argparse.ArgumentParser(prog="python -m dnl.evaluate", description="Score a checkpoint.")
    parser.add_argument("--checkpoint", required=True, help="a listed name or a .safetensors file")
    parser.add_argument("--dataset", required=True, choices=NAMES)
    parser.add_argument("--data", help="folder of the data set (streets need none)")
    parser.add_argument("--split", default="val")
    parser.add_argument("--gamma", type=float, help="value of the block's γ; 0 switches the attention off")
    parser.add_argument("--attention", default="learnt", choices=ATTENTION_SOURCES)
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0], metavar="FACTOR", help="average over these")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image")
    parser.add_argument("--window", type=int, metavar="PIXELS", help="slide windows of this side over larger images")
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
                    write_json(options.json, scores._asdict())
            finally:  # a full disk does not take them away
                _show(scores)


def _show(scores: SegmentationScores) -> None:
    """Print IoU by class, mIoU and pixel accuracy."""
    for name, value in scores.iou.items():
        print(f"{name:>14}  {value:.4f}")
    print(f"{'mIoU':>14}  {scores.miou:.4f}\n{'pixel accuracy':>14}  {scores.pixel_accuracy:.4f}")


def _scores(options: argparse.Namespace, world: World) -> SegmentationScores:
    model, card = load_checkpoint(options.checkpoint)
    alter_attention(model, gamma=options.gamma, source=options.attention)
    dataset = open_dataset(options.dataset, options.data, options.split)
    label_set = label_set_of(card)
    if dataset.label_set.class_names != label_set.class_names:
        differing = differing_classes(label_set.class_names, dataset.label_set.class_names)
        raise ValueError(
            f"the checkpoint {one_line(options.checkpoint, 80)} knows other classes than the data set: {differing}"
        )
    model.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return evaluate(
        model,
        dataset,
        inference=Inference(tuple(options.scales), options.flip, options.window),
        world=world,
        progress=lambda items: tqdm(items, desc=options.split, leave=False, disable=not world.is_main),
    )


if __name__ == "__main__":
    sys.exit(main())
