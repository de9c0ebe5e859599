"""The attention noise of an ablation's networks: python -m analysis.ablation --runs OUT --data DIR

Measures each finished run of `python -m dnl.ablation` on the validation images, under the run's own gate and LR, writes
noise.json beside its scores, and renews table.md and table.json in OUT. Runs that have their noise.json are left alone.
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from analysis import noise
from analysis.capture import Capture, capture_attention
from analysis.measure import MeasureOptions, measure_capture
from analysis.noise import ImageNoise, image_noise, summarise, times_chance
from dnl.ablation import NOISE, finished_runs, tabulate
from dnl.checkpoints import load_checkpoint
from dnl.commands import exit_status, program, show_anything
from dnl.datasets import open_dataset
from dnl.files import write_json
from dnl.network import ModelConfig


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


def measure_run(folder: Path, data: str | None, count: int | None) -> dict:
    """`noise_figures` of a finished run over `count` validation images spread evenly, None for all; {} for an fcn."""
    model, card = load_checkpoint(folder / "model.safetensors")
    stages = stages_of(model.config)
    if not stages:
        return {}
    dataset = open_dataset(card["recipe"]["dataset"], data, "val")
    chosen = np.arange(len(dataset))
    if count is not None and count < len(dataset):
        chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    images = []
    for index in chosen:
        sample = dataset[int(index)]
        images.append(measure(capture_attention(model, sample.image, labels=sample.labels, name=sample.name), stages))
    return noise_figures(images, stages)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    show_anything()
    parser = argparse.ArgumentParser(
        prog=program("analysis.ablation"), description="Measure the attention noise of an ablation's runs."
    )
    parser.add_argument("--runs", required=True, type=Path, help="folder that dnl.ablation wrote")
    parser.add_argument("--data", help="folder of the data set")
    parser.add_argument("--images", type=int, help="validation images to measure; all by default")
    parser.add_argument("--workers", type=int, default=1, help="runs measured at a time")
    options = parser.parse_args(arguments)
    return exit_status(lambda: print(_measure_all(options)))


def _measure_all(options: argparse.Namespace) -> str:
    for name in ("images", "workers"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} is {value}; give 1 or more")
    folders = [folder for _, _, folder in finished_runs(options.runs)]
    if not folders:
        raise ValueError(f"{options.runs} holds no finished run; make some with python -m dnl.ablation --out")
    waiting = [folder for folder in folders if not (folder / NOISE).exists()]
    work = functools.partial(measure_run, data=options.data, count=options.images)
    # Fresh processes: a fork of one in which torch has run threads can hang.
    with ProcessPoolExecutor(options.workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        measured = zip(waiting, pool.map(work, waiting), strict=True)
        for folder, figures in tqdm(measured, desc="attention noise", total=len(waiting), leave=False):
            write_json(folder / NOISE, figures)
    return tabulate(options.runs)


if __name__ == "__main__":
    sys.exit(main())
