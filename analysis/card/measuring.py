"""Measure a checkpoint and write the figures into its card: python -m analysis.card --checkpoint FILE --data DIR

What is measured: scores on CamVid and on unseen streets; what the attention is worth (scores with γ = 0, and with
uniform attention or the image's mean row in its place); the noise of the raw map, and of the rectified and retained
maps under every gate, the oracle and a constant box in LR's place among them; query dependence and concentration.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from analysis import noise
from analysis.capture import Capture, capture_attention
from analysis.maps import DEFAULT_LR_KERNEL, GATES
from analysis.measure import ImageReport, MeasureOptions, measure_capture
from analysis.noise import ImageNoise, MetricSummary, QueryMetrics, image_noise, summarise
from dnl.checkpoints import checkpoint_path, load_checkpoint, save_checkpoint
from dnl.commands import exit_status
from dnl.datasets import CamVid, Streets
from dnl.evaluate import altered_attention
from dnl.network import SegmentationNetwork
from dnl.training import evaluate

# How each score without the learnt attention is had.
ABLATIONS: dict[str, dict[str, Any]] = {
    "miou_gamma_0": {"gamma": 0.0},
    "miou_uniform": {"source": "uniform"},
    "miou_mean": {"source": "mean"},
}
# Of each gate in the card; box: retained with a constant box in place of LR's weights.
STAGES = ("rectified", "retained", "box")

Progress = Callable[[Sequence], Iterable]


class ImageMeasurement(NamedTuple):
    """One image's attention. `raw` holds the raw stage alone; `gates` the raw stage with those under each gate, all
    four compared on the same queries. effective_keys: of the raw row of every query for which they are defined."""

    raw: ImageNoise
    gates: dict[str, ImageNoise]
    effective_keys: np.ndarray
    query_dependence: float
    distinct_argmax_keys: int


def measure_scores(model: SegmentationNetwork, dataset, *, progress: Progress = iter) -> dict:
    """{"miou", "pixel_accuracy", "iou": {class: …}, "images"}, fractions, over a labelled data set."""
    return {**evaluate(model, dataset, progress=progress)._asdict(), "images": len(dataset)}


def measure_worth(model: SegmentationNetwork, dataset, *, progress: Progress = iter) -> dict[str, float]:
    """mIoU without the learnt attention: γ = 0, uniform attention, the mean row. The model stays as it was."""
    scores = {}
    for name, alteration in ABLATIONS.items():
        with altered_attention(model, **alteration):
            scores[name] = evaluate(model, dataset, progress=progress).miou
    return scores


def measure_image(capture: Capture, gates: Sequence[str] = GATES) -> ImageMeasurement:
    """All queries of one labelled image, every stage under each of `gates`, of which there must be one at least.

    A model without LR gets a window of DEFAULT_LR_KERNEL cells. Raises ValueError without labels.
    """
    if capture.cell_labels is None:
        raise ValueError(f"{capture.name!r} has no labels; noise is measured against labels")
    kernel = capture.lr_kernel or DEFAULT_LR_KERNEL
    reports = {gate: _measured(capture, gate, kernel) for gate in gates}
    labels, first = capture.cell_labels, next(iter(reports.values()))
    raw = first.stages["raw"]

    def noise_of(stages: Mapping[str, QueryMetrics]) -> ImageNoise:
        return image_noise(stages, labels, capture.num_classes)

    return ImageMeasurement(
        raw=noise_of({"raw": raw}),
        gates={
            gate: noise_of({stage: report.stages[stage] for stage in ("raw", *STAGES)})
            for gate, report in reports.items()
        },
        effective_keys=raw.effective_keys[np.isfinite(raw.effective_keys)],
        query_dependence=first.query_dependence,
        distinct_argmax_keys=first.distinct_argmax_keys,
    )


def _measured(capture: Capture, gate: str, kernel: int) -> ImageReport:
    options = MeasureOptions(gate=gate, lr_kernel=kernel, lr_weights="learnt", controls=("box",))
    return measure_capture(capture, options, detection=False)


def attention_metrics(
    images: Sequence[ImageMeasurement],
    class_names: Sequence[str],
    *,
    min_cells: int = noise.MIN_CELLS,
    min_images: int = noise.MIN_IMAGES,
) -> dict:
    """The card's "attention", "gates", "query_dependence", "effective_keys" (median over all queries) and
    "distinct_argmax_keys" (mean an image) out of the measurements of at least one image."""
    limits = {"min_cells": min_cells, "min_images": min_images}
    raw = summarise([image.raw for image in images], **limits)["raw"]
    gates = {}
    for gate in images[0].gates:
        of_gate = [image.gates[gate] for image in images]
        stages = summarise(of_gate, **limits)
        emptied = {stage: sum(image.emptied[stage] for image in of_gate) for stage in stages}
        gates[gate] = {**{stage: _entry(summary) for stage, summary in stages.items()}, "emptied": emptied}
    left_out = raw["interclass_noise"].left_out
    return {
        "attention": {
            "raw": _entry(raw),
            "images": len(images),
            "queries": raw["interclass_noise"].queries,
            "classes_left_out": {class_names[index]: count for index, count in left_out.items()},
        },
        "gates": gates,
        "query_dependence": float(np.mean([image.query_dependence for image in images])),
        "effective_keys": float(np.median(np.concatenate([image.effective_keys for image in images]))),
        "distinct_argmax_keys": float(np.mean([image.distinct_argmax_keys for image in images])),
    }


def _entry(summary: Mapping[str, MetricSummary]) -> dict:
    """One stage in the card: macro means; interclass noise with its chance and its micro mean."""
    interclass = summary["interclass_noise"]
    return {
        "interclass_noise": {
            "mean": interclass.mean,
            "chance": summary["chance"].mean,
            "micro": interclass.micro,
            "micro_chance": summary["chance"].micro,
        },
        **{name: {"mean": summary[name].mean} for name in ("hollow_fraction", "intraclass_noise", "kept_mass")},
    }


# --- command line ----------------------------------------------------------------------------------------------------


def measure_attention(checkpoint: str, data: str, split: str, *, workers: int = 1) -> dict:
    """`attention_metrics` of a checkpoint over a split of CamVid, its images shared among `workers` processes."""
    names = CamVid.label_set.class_names
    count = len(CamVid(data, split))
    # Fresh processes: a fork of one in which torch has run threads can hang.
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (checkpoint, data, split)) as pool:
        images = list(tqdm(pool.map(_measure_index, range(count)), desc="attention noise", total=count, leave=False))
    return attention_metrics(images, names)


# What a worker process works with.
_model: SegmentationNetwork
_dataset: CamVid


def _start_worker(checkpoint: str, data: str, split: str) -> None:
    global _model, _dataset
    torch.set_num_threads(1)
    _model, _ = load_checkpoint(checkpoint)
    _dataset = CamVid(data, split)


def _measure_index(index: int) -> ImageMeasurement:
    sample = _dataset[index]
    return measure_image(capture_attention(_model, sample.image, labels=sample.labels, name=sample.name))


def table(metrics: Mapping) -> str:
    """The figures of a card's metrics, for reading: one line of scores each, then one line a stage."""
    lines = []
    for name, scores in metrics.items():
        if isinstance(scores, Mapping) and "miou" in scores:
            parts = [f"{key} {value:.4f}" for key, value in scores.items() if isinstance(value, float)]
            lines.append(f"{name}: {', '.join(parts)}")
    if "attention" not in metrics:
        return "\n".join(lines)
    lines.append(
        f"γ {metrics['gamma']:.3f}, query dependence {metrics['query_dependence']:.3f}, median effective keys "
        f"{metrics['effective_keys']:.0f}, distinct argmax keys an image {metrics['distinct_argmax_keys']:.0f}"
    )
    lines.append(
        f"{'stage':<24}{'interclass':>11}{'× chance':>10}{'hollow':>9}{'intraclass':>12}{'kept':>8}{'emptied':>9}"
    )
    lines.append(_line("raw", metrics["attention"]["raw"], None))
    for gate, entry in metrics["gates"].items():
        lines += [_line(f"{gate}, {stage}", entry[stage], entry["emptied"][stage]) for stage in STAGES]
    if left_out := metrics["attention"]["classes_left_out"]:
        named = ", ".join(f"{name} ({count} images)" for name, count in left_out.items())
        lines.append(f"left out of the macro means, in too few images: {named}")
    return "\n".join(lines)


def _line(name: str, entry: Mapping, emptied: int | None) -> str:
    noise_mean, chance = entry["interclass_noise"]["mean"], entry["interclass_noise"]["chance"]
    if noise_mean is None:
        return f"{name:<24}  no class in enough images"
    return (
        f"{name:<24}{noise_mean:>11.3f}{noise_mean / chance:>10.3f}{_number(entry['hollow_fraction']['mean']):>9}"
        f"{_number(entry['intraclass_noise']['mean']):>12}{_number(entry['kept_mass']['mean']):>8}"
        f"{'' if emptied is None else emptied:>9}"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m analysis.card", description="Measure a checkpoint into its card.")
    parser.add_argument("--checkpoint", required=True, help="a listed name or a .safetensors file; it is rewritten")
    parser.add_argument("--data", required=True, help="folder of CamVid")
    parser.add_argument("--split", default="val", help="split of CamVid")
    parser.add_argument("--streets", type=int, default=100, help="number of unseen streets to score, 0 for none")
    parser.add_argument("--workers", type=int, default=1, help="processes for the attention noise")
    options = parser.parse_args(arguments)
    return exit_status(lambda: print(table(_measure_and_save(options))))


def _measure_and_save(options: argparse.Namespace) -> dict:
    if options.workers < 1:
        raise ValueError(f"--workers is {options.workers}; give 1 or more")
    path = checkpoint_path(options.checkpoint)
    model, card = load_checkpoint(path)
    dataset, streets = CamVid(options.data, options.split), Streets("val", options.streets)
    assert model.label_set is not None  # loading sets it
    if dataset.label_set.class_names != model.label_set.class_names:
        raise ValueError(f"the checkpoint knows the classes of {model.label_set.name}, not of camvid")
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    camvid = measure_scores(model, dataset, progress=_bar(f"camvid {options.split}"))
    metrics: dict[str, Any] = {f"camvid_{options.split}": camvid}
    if model.context is not None:
        camvid |= measure_worth(model, dataset, progress=_bar("without the learnt attention"))
        metrics["gamma"] = model.context.gamma.item()
        metrics |= measure_attention(str(path), options.data, options.split, workers=options.workers)
    if len(streets):
        metrics["streets_val"] = measure_scores(model, streets, progress=_bar("streets"))
    save_checkpoint(path, model, {**card, "metrics": {**card.get("metrics", {}), **metrics}})
    return metrics


def _bar(description: str) -> Progress:
    return lambda items: tqdm(items, desc=description, leave=False)


if __name__ == "__main__":
    sys.exit(main())
