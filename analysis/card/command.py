"""Measure a checkpoint and write the figures into its card: python -m analysis.card --checkpoint FILE --data DIR"""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from analysis.card.measuring import GATED_STAGES, measure_attention
from dnl.checkpoints import checkpoint_path, differing_classes, load_checkpoint, recipes_of, save_checkpoint
from dnl.commands import exit_status, program, show_anything
from dnl.datasets import Streets, open_dataset, split_to_measure
from dnl.evaluate import measure_scores, measure_worth


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
        lines += [_line(f"{gate}, {stage}", entry[stage], entry["emptied"][stage]) for stage in GATED_STAGES]
    if "intervals" in metrics["attention"]:
        facts = metrics["attention"]["intervals"]
        made = f"by {facts['method']}, of {facts['speaks_of']}"
        lines.append(f"95 % intervals in the card: {made if facts['reason'] is None else facts['reason']}")
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
    show_anything()
    parser = argparse.ArgumentParser(prog=program("analysis.card"), description="Measure a checkpoint into its card.")
    parser.add_argument("--checkpoint", required=True, help="a listed name or a .safetensors file; it is rewritten")
    parser.add_argument("--data", required=True, help="folder of CamVid")
    parser.add_argument("--split", default="val", help="split of CamVid, or dev:DRIVE, a drive of train")
    parser.add_argument("--streets", type=int, default=100, help="number of unseen streets to score, 0 for none")
    parser.add_argument("--workers", type=int, default=1, help="processes for the attention noise")
    options = parser.parse_args(arguments)
    return exit_status(lambda: print(table(_measure_and_save(options))))


def _measure_and_save(options: argparse.Namespace) -> dict:
    if options.workers < 1:
        raise ValueError(f"--workers is {options.workers}; give 1 or more")
    path = checkpoint_path(options.checkpoint)
    model, card = load_checkpoint(path)
    split = split_to_measure(options.split, recipes_of(card), "camvid", options.data)
    dataset, streets = open_dataset("camvid", options.data, split), Streets("val", options.streets)
    assert model.label_set is not None  # loading sets it
    if dataset.label_set.class_names != model.label_set.class_names:
        differing = differing_classes(model.label_set.class_names, dataset.label_set.class_names)
        raise ValueError(f"the checkpoint knows the classes of {model.label_set.name}, not of camvid: {differing}")
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    camvid = measure_scores(model, dataset, progress=_bar(f"camvid {split}"))
    metrics: dict[str, Any] = {f"camvid_{split}": camvid}
    if model.context is not None:
        camvid |= measure_worth(model, dataset, progress=_bar("without the learnt attention"))
        metrics["gamma"] = model.context.gamma.item()
        metrics |= measure_attention(str(path), options.data, split, workers=options.workers)
    if len(streets):
        metrics["streets_val"] = measure_scores(model, streets, progress=_bar("streets"))
    looks = counted(card.get("looks"), f"camvid {split}")
    save_checkpoint(path, model, {**card, "looks": looks, "metrics": {**card.get("metrics", {}), **metrics}})
    return metrics


def counted(looks: object, split: str) -> dict[str, int]:
    """How often each split was measured for the card, this time included. looks: what the card says of it so far."""
    known = looks if isinstance(looks, dict) else {}
    before = known.get(split, 0)
    return {**known, split: (before if isinstance(before, int) else 0) + 1}


def _bar(description: str) -> Callable[[Sequence], Iterable]:
    return lambda items: tqdm(items, desc=description, leave=False)
