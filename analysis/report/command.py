"""Attention noise over a data set: python -m analysis.report --checkpoint NAME|FILE --dataset NAME --data DIR --out DIR
or of attention files of any network: python -m analysis.report --attention FILE|FOLDER … --out DIR

Writes summary.json, per_image.csv, per_class.csv, per_group.csv, figures.csv, leakage matrices, charts and noise maps
(PNG and SVG) and one self-contained report.html; with --latex and --markdown tables for a paper as well. Several
checkpoints give a comparison, with tests of how they differ. Each finished image is kept in OUT/records, so that an
interrupted run goes on where it stopped. Of a folder of plain photos those that cannot be used are left out,
and named with the reason. The figures are the same whatever the number of --workers, and under torchrun, whose
processes must share the folder OUT.

Of attention files (docs/attention-files.md) every head of every layer is measured: per_head.csv takes the place of
per_group.csv, and charts show layers by heads.
"""

import argparse
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from analysis.capture import PUBLIC_SETS
from analysis.measure import MeasureOptions
from analysis.options import GATES
from analysis.report.attention import Reading, found_files, measured_files
from analysis.report.foreseen import foreseen
from analysis.report.heads import write_heads_report
from analysis.report.measuring import Job, Progress, ReportError, measure_images
from analysis.report.networks import open_networks, pooled_records
from analysis.report.output import Checkpoint, require_room, write_report
from analysis.report.photos import Images, Photos, open_images
from analysis.report.records import located
from analysis.report.typeset import MOST_DIGITS
from dnl import __version__
from dnl.checkpoints import differing_classes
from dnl.commands import exit_status, in_one_line, program, show_anything
from dnl.datasets import NAMES, look_at, split_to_measure
from dnl.distributed import World, joined
from dnl.untrusted import one_line

MOST_WORKERS = 8
MOST_LR_KERNEL = 99
# Of a labelled image; plain photos are scaled down.
MOST_PIXELS = 4_000_000
# Options that say nothing of a data set, and of attention files.
FOR_FILES = ("label_folder", "label_set", "layers")
FOR_DATA_SETS = ("dataset", "data", "split", "workers", "large", "no_detection")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    show_anything()
    options = _parser().parse_args(arguments)
    kept = f"interrupted: finished images are kept in {options.out / 'records'}; run the same command again to go on"

    def work() -> None:
        with joined() as world:
            _report(options, world)
            if world.is_main:
                where = options.out / "report.html"
                print(f"the report is {where}, its figures {options.out / 'summary.json'} and the tables beside it")

    return exit_status(work, told=partial(in_one_line, interrupted=kept))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program("analysis.report"), description="Attention noise over a data set.")
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument(
        "--checkpoint", nargs="+", help="listed names or .safetensors files; a,b,c or a folder: seeds taken as one"
    )
    subject.add_argument(
        "--attention", nargs="+", type=Path, metavar="FILE", help="attention files or folders of them, one an image"
    )
    parser.add_argument(
        "--dataset", choices=NAMES, help="folder: labelled as dnl.datasets.folder says, or plain photos"
    )
    parser.add_argument("--data", help="folder of the data set (streets need none)")
    parser.add_argument("--split", help="split, or dev:GROUP, a group of train; val, or all for folder, if not given")
    parser.add_argument("--coding", help="how label files store the classes (docs/label-images.md); recognised else")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the report")
    parser.add_argument("--gate", default="model", choices=("model", *GATES, "none"), help="GR gate")
    parser.add_argument("--lr-kernel", default="model", metavar="CELLS", help="LR window: model, none or an odd number")
    parser.add_argument("--lr-weights", default="model", choices=("model", "learnt", "box"))
    parser.add_argument("--temperature", type=float, default=1.0, help="divides the softmax's scores; 1 is the method")
    parser.add_argument(
        "--labels", choices=("truth", "prediction"), help="truth where there is one if not given, else prediction"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--min-images", type=int, metavar="N", help="images that a class needs to count")
    parser.add_argument("--workers", type=int, metavar="N", help="processes; the processor's cores if not given")
    parser.add_argument("--large", action="store_true", help="measure labelled images of any size")
    for option, ending in (("--latex", "tex"), ("--markdown", "md")):
        words = f"write tables for a paper as tables.{ending}" + (" (booktabs, siunitx)" if ending == "tex" else "")
        parser.add_argument(option, dest="formats", action="append_const", const=ending, help=words)
    parser.add_argument("--digits", type=int, default=3, metavar="N", help="digits after the point in these tables")
    parser.add_argument("--no-detection", action="store_true", help="leave AUC and average precision out")
    files = parser.add_argument_group("attention files")
    files.add_argument(
        "--label-folder", type=Path, metavar="DIR", help="label images named like the files, for files without labels"
    )
    files.add_argument("--label-set", metavar="NAME", help=f"whose classes: {', '.join(PUBLIC_SETS)}; the file's else")
    files.add_argument("--layers", nargs="+", metavar="PATTERN", help="names as in the shell, blocks.*; all else")
    return parser


# --- from options to a report ----------------------------------------------------------------------------------------


def _report(options: argparse.Namespace, world: World) -> None:
    _require_numbers(options)
    require_room(options.out)  # before hours of measuring
    if options.attention:
        if world.is_main:
            _report_files(options, world)
        return
    _refuse(options, FOR_FILES, "with --attention alone")
    if options.dataset is None:
        raise ReportError(f"--checkpoint needs a data set; name one of {', '.join(NAMES)} with --dataset")
    checkpoints = open_networks(options.checkpoint)
    split = options.split or ("all" if options.dataset == "folder" else "val")
    recipes = [recipe for checkpoint in checkpoints for own in checkpoint.networks for recipe in own.recipes]
    split = split_to_measure(split, recipes, options.dataset, options.data)
    images = open_images(options.dataset, options.data, split, options.coding)
    labels = options.labels or ("prediction" if images.label_set is None else "truth")
    _require_fitting_classes(checkpoints, images, labels, options.data)
    count = min(len(images), options.limit or len(images))
    if not count:
        raise ReportError(f"{options.dataset} {split} holds no image; choose another split or folder")
    measured = _measure_options(options, labels)
    _look(images, world, checkpoints[0], measured, options)
    jobs = {
        checkpoint.name: Job(
            checkpoint=str(checkpoint.path),
            checkpoint_hash=checkpoint.sha256,
            dataset=options.dataset,
            data=options.data,
            split=split,
            count=count,
            options=measured,
            detection=not options.no_detection,
            out=options.out,
            coding=options.coding,
        )
        for network in checkpoints
        for checkpoint in network.networks
    }
    _make_folders([job.folder for job in jobs.values()], options.out)
    workers = options.workers or min(os.cpu_count() or 1, MOST_WORKERS)
    measured_records = {
        name: located(
            measure_images(job, workers=workers, world=world, progress=_bar(name, world)), images.origins[:count]
        )
        for name, job in jobs.items()
    }
    if world.is_main:
        records = measured_records | {own.name: pooled_records(own, measured_records) for own in checkpoints}
        provenance = {
            "version": __version__,
            "definitions": "this project's own",
            "dataset": options.dataset,
            "split": split if images.label_set is not None else None,
            "limit": options.limit,
            "options": {**asdict(measured), "detection": not options.no_detection},
        }
        formats = dict.fromkeys(options.formats or (), options.digits)
        write_report(
            options.out, checkpoints, records, images, provenance, min_images=options.min_images, formats=formats
        )


def _require_numbers(options: argparse.Namespace) -> None:
    for name in ("limit", "workers", "min_images"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ReportError(f"--{name.replace('_', '-')} is {getattr(options, name)}; give 1 or more")
    if not 1 <= options.digits <= MOST_DIGITS:
        raise ReportError(f"--digits is {options.digits}; give 1 to {MOST_DIGITS}")
    if not 0 < options.temperature < math.inf:
        raise ReportError(f"--temperature is {options.temperature:g}; give a finite number above 0, 1 for the method")


def _report_files(options: argparse.Namespace, world: World) -> None:
    """The report on attention files, in this process alone."""
    _refuse(options, FOR_DATA_SETS, "with --checkpoint alone: attention files are their own data set")
    if options.formats:
        raise ReportError("--latex and --markdown go with --checkpoint alone: per_head.csv has the figures of files")
    if options.label_set is not None and options.label_set not in PUBLIC_SETS:
        raise ReportError(f"--label-set is {options.label_set!r}; choose one of {', '.join(PUBLIC_SETS)}")
    files = found_files(options.attention)[: options.limit]
    measured = _measure_options(options, options.labels or "truth")
    reading = Reading(options.label_folder, options.label_set, options.coding, options.layers)
    found = measured_files(files, reading, measured, _bar("attention", world))
    _make_folders([options.out], options.out)
    provenance = {
        "version": __version__,
        "definitions": "this project's own",
        "options": asdict(measured),
        "layers": options.layers,
        "limit": options.limit,
    }
    write_heads_report(options.out, files, found, provenance, min_images=options.min_images)


def _measure_options(options: argparse.Namespace, labels: str) -> MeasureOptions:
    return MeasureOptions(
        gate=None if options.gate == "none" else options.gate,
        lr_kernel=_kernel(options.lr_kernel),
        lr_weights=options.lr_weights,
        temperature=options.temperature,
        labels=labels,
    )


def _refuse(options: argparse.Namespace, names: Sequence[str], when: str) -> None:
    """Raise ReportError for one of these options that is given where it says nothing."""
    for name in names:
        if getattr(options, name):
            raise ReportError(f"--{name.replace('_', '-')} goes {when}")


def _look(
    images: Images, world: World, checkpoint: Checkpoint, measured: MeasureOptions, options: argparse.Namespace
) -> None:
    """Say what looks wrong in the files, and what large images take, before anything is measured.

    Raises DatasetError where it cannot be meant, and ReportError for images that take very long, unless they may.
    """
    if isinstance(images, Photos):
        sentences = [f"not used: {', '.join(file.name for file in images.unused)}"] if images.unused else []
    else:
        bar = partial(tqdm, leave=False, delay=1, disable=not world.is_main)
        look = look_at(images, progress=bar).require()
        sentences = list(look.sentences)
        if math.prod(look.largest) > MOST_PIXELS:
            takes = foreseen(str(checkpoint.path), measured, look.largest, detection=not options.no_detection)
            if not options.large:
                raise ReportError(
                    f"{takes}, and work grows with the square of the pixels: scale images and labels (by nearest "
                    "neighbour) down, or add --large"
                )
            sentences.append(takes)
    if world.is_main:
        for sentence in sentences:
            print(one_line(sentence), file=sys.stderr)


def _require_fitting_classes(checkpoints: Sequence[Checkpoint], images: Images, labels: str, data: str | None) -> None:
    true = images.label_set if labels == "truth" else None
    if labels == "truth" and true is None:
        raise ReportError(
            f"the photos in {data} have no labels; measure against the model's prediction with --labels prediction"
        )
    first = checkpoints[0]
    for checkpoint in checkpoints:
        if labels == "prediction" and checkpoint.members:
            raise ReportError(
                f"{checkpoint.name} is several networks, and each would be measured against a prediction of its own; "
                "give each alone, or images with labels"
            )
        if true is not None and checkpoint.label_set.class_names != true.class_names:
            differing = differing_classes(checkpoint.label_set.class_names, true.class_names)
            raise ReportError(
                f"{checkpoint.name} knows the classes of {checkpoint.label_set.name}, not of {true.name} "
                f"({differing}); choose another data set, or --labels prediction"
            )
        if checkpoint.label_set.class_names != first.label_set.class_names:
            raise ReportError(f"{checkpoint.name} and {first.name} know different classes; report on each alone")


def _kernel(text: str) -> int | str | None:
    if text in ("model", "none"):
        return "model" if text == "model" else None
    if text not in map(str, range(1, MOST_LR_KERNEL + 1, 2)):
        raise ReportError(
            f"--lr-kernel is {text!r}; give model, none or an odd number of cells, at most {MOST_LR_KERNEL}"
        )
    return int(text)


def _make_folders(folders: Sequence[Path], out: Path) -> None:
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"the folder {out} cannot be written to ({error.strerror}); choose another --out") from error


def _bar(name: str, world: World) -> Progress:
    def progress(items: Iterable, **details: Any) -> Iterable:
        return tqdm(items, desc=name, unit="image", disable=not world.is_main, **details)

    return progress
