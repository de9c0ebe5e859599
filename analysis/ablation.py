"""The attention noise of an ablation's networks: python -m analysis.ablation --runs OUT --data DIR

Measures each finished run of `python -m dnl.ablation` on the split it was scored on (val, or what --split says) under
its own gate and LR, writes noise.json beside its scores, and renews table.md and table.json in OUT. Runs that have
their noise.json are left alone. Where they share several seeds, the plain network and the denoised one are compared
seed by seed (differences.json).
"""

import argparse
import functools
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from analysis import noise
from analysis.capture import Capture, capture_attention
from analysis.intervals import student_quantile
from analysis.measure import MeasureOptions, measure_capture
from analysis.noise import ImageNoise, image_noise, summarise, times_chance
from dnl.ablation import NOISE, PLAN, VAL, finished_runs, of_split, run_figures, scored_split, tabulate
from dnl.checkpoints import load_checkpoint
from dnl.commands import exit_status, program, show_anything
from dnl.datasets import open_dataset
from dnl.files import write_json
from dnl.network import ModelConfig

# What is compared seed by seed, and of which networks.
PLAIN, DENOISED = "nl", "dnl-sigmoid"
COMPARED = ("miou", "raw_noise", "final_noise")
DIFFERENCES = "differences.json"
LEAST_SEEDS, LEVEL = 3, 0.95  # the skewness of so few is not known: plain Student's t


def stages_of(config: ModelConfig) -> tuple[str, ...]:
    """The stages that a network has: raw, rectified with GR, retained with LR; none without attention."""
    if config.context == "fcn":
        return ()
    return ("raw", *["rectified"] * config.uses_gate, *["retained"] * config.uses_retention)


def measure(capture: Capture, stages: Sequence[str]) -> ImageNoise:
    """Noise of all queries of a labelled image, in these stages, on the queries that are valid in all of them."""
    report = measure_capture(capture, MeasureOptions(controls=()), detection=False)
    return image_noise({stage: report.stages[stage] for stage in stages}, report.labels, report.num_classes)


def noise_figures(images: Sequence[ImageNoise], stages: Sequence[str]) -> dict:
    """{"raw_noise", "final_noise": macro interclass noise over chance; "STAGE_intraclass", "STAGE_hollow": macro}.

    "final" is the last of `stages`. A class needs noise.MIN_IMAGES images, or all if there are fewer.
    """
    summary = summarise(images, min_images=min(noise.MIN_IMAGES, len(images)))
    figures = {"raw_noise": times_chance(summary["raw"]), "final_noise": times_chance(summary[stages[-1]])}
    for stage in stages:
        figures[f"{stage}_intraclass"] = summary[stage]["intraclass_noise"].mean
        figures[f"{stage}_hollow"] = summary[stage]["hollow_fraction"].mean
    return {**figures, "noise_images": len(images)}


def measure_run(folder: Path, data: str | None, split: str, count: int | None) -> dict:
    """`noise_figures` of a finished run over `count` images of a split, spread evenly, None for all; {} for an fcn."""
    model, card = load_checkpoint(folder / "model.safetensors")
    stages = stages_of(model.config)
    if not stages:
        return {}
    dataset = open_dataset(card["recipe"]["dataset"], data, split)
    chosen = np.arange(len(dataset))
    if count is not None and count < len(dataset):
        chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    images = []
    for index in chosen:
        sample = dataset[int(index)]
        capture = capture_attention(model, sample.image, labels=sample.labels, name=sample.name, predict=False)
        images.append(measure(capture, stages))
    return noise_figures(images, stages)


class Difference(NamedTuple):
    """The mean difference over so many seeds and its 95 % interval, Student's t; None below LEAST_SEEDS."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Difference":
        """values: one a seed, two at least."""
        mean, count = statistics.fmean(values), len(values)
        if count < LEAST_SEEDS:
            return cls(mean, None, None, count)
        reach = student_quantile(count - 1, LEVEL) * statistics.stdev(values) / math.sqrt(count)
        return cls(mean, mean - reach, mean + reach, count)


def seed_differences(runs: Mapping[str, Sequence[Mapping]]) -> dict[str, Difference]:
    """DENOISED minus PLAIN in each figure of COMPARED and of each group's mean IoU, seed by seed, with its interval.

    runs: as in `dnl.ablation.run_figures`. The interval is over seeds, for the images as they are. A figure that one of
    the runs lacks is left out. {} unless both networks have two seeds in common.
    """
    plain, denoised = ({run["seed"]: run for run in runs.get(name, ())} for name in (PLAIN, DENOISED))
    seeds = sorted(plain.keys() & denoised.keys())
    if len(seeds) < 2:
        return {}
    groups = [f"miou_{group}" for group in plain[seeds[0]].get("groups", {})]
    differences = {}
    for figure in (*COMPARED, *groups):
        pairs = [(plain[seed].get(figure), denoised[seed].get(figure)) for seed in seeds]
        values = [after - before for before, after in pairs if before is not None and after is not None]
        if len(values) == len(seeds):
            differences[figure] = Difference.of(values)
    return differences


def differences_in_words(differences: Mapping[str, Difference]) -> str:
    """`seed_differences` as Markdown, one line a figure; "" for none."""
    if not differences:
        return ""
    count = next(iter(differences.values())).seeds
    lines = [f"{DENOISED} minus {PLAIN}, mean and 95 % interval over {count} seeds, for these images:", ""]
    for figure, (mean, low, high, _) in differences.items():
        limits = f"no interval below {LEAST_SEEDS} seeds" if low is None else f"{low:+.3f} … {high:+.3f}"
        lines.append(f"- {figure}: {mean:+.3f} ({limits})")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    show_anything()
    parser = argparse.ArgumentParser(
        prog=program("analysis.ablation"), description="Measure the attention noise of an ablation's runs."
    )
    parser.add_argument("--runs", required=True, type=Path, help="folder that dnl.ablation wrote")
    parser.add_argument("--data", help="folder of the data set")
    parser.add_argument("--split", default=VAL, help="split that the runs were scored on; val by default")
    parser.add_argument("--images", type=int, help="images of it to measure; all by default")
    parser.add_argument("--workers", type=int, default=1, help="runs measured at a time")
    options = parser.parse_args(arguments)
    return exit_status(lambda: print(_measure_all(options)))


def _measure_all(options: argparse.Namespace) -> str:
    for name in ("images", "workers"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} is {value}; give 1 or more")
    split = options.split
    if (options.runs / PLAN).exists():
        split = scored_split(split, options.runs, options.data)
    folders = [folder for _, _, folder in finished_runs(options.runs, split)]
    if not folders:
        command = "python -m dnl.ablation" if split == VAL else f"python -m dnl.ablation --split {split}"
        raise ValueError(f"{options.runs} holds no finished run with scores on {split}; make some with {command} --out")
    name = of_split(NOISE, split)
    waiting = [folder for folder in folders if not (folder / name).exists()]
    work = functools.partial(measure_run, data=options.data, split=split, count=options.images)
    # Fresh processes: a fork of one in which torch has run threads can hang.
    with ProcessPoolExecutor(options.workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        measured = zip(waiting, pool.map(work, waiting), strict=True)
        for folder, figures in tqdm(measured, desc="attention noise", total=len(waiting), leave=False):
            write_json(folder / name, figures)
    differences = seed_differences(run_figures(options.runs, split))
    if differences:
        facts = {figure: difference._asdict() for figure, difference in differences.items()}
        write_json(options.runs / of_split(DIFFERENCES, split), facts)
    return "\n".join(filter(None, [tabulate(options.runs, split), differences_in_words(differences)]))


if __name__ == "__main__":
    sys.exit(main())
