"""The ablation: what GR and LR do. Eight networks, one recipe, one budget, several seeds.

    python -m dnl.ablation --data DIR --out OUT [--seeds 3] [--minutes 10 | --epochs E] [--variants nl dnl-sigmoid …]
                           [--split test]

OUT/plan.json holds what all runs share, OUT/VARIANT/seed-N the folder of each (`dnl.training.runs`), with its scores in
ablation.json once it is finished. The same command again goes on where it was stopped: finished runs are kept, an
interrupted one is resumed; more seeds or variants may be asked for. Seeds come first: after any number of them the
table is complete. At the end all networks take turns at some more updates, for their speed side by side (speed.json).
`python -m analysis.ablation` adds noise.json to each run; table.md and table.json, renewed after each run, show what
there is. Another split than val has files of its own beside those, ablation-test.json and so on; the runs are trained
once for all splits.

Minutes become epochs once, by timing some updates of the costliest network, so that all networks see the same images.
Warm-up and the restart of the attention keep their share of the training.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dnl.checkpoints import load_checkpoint
from dnl.commands import ask_for_huge_pages, exit_status, in_one_line, program, show_anything
from dnl.datasets import open_dataset, split_to_measure
from dnl.distributed import World, joined
from dnl.evaluate import measure_scores, measure_worth
from dnl.files import write_atomically, write_json
from dnl.network import build_model
from dnl.tables import Column, markdown_table, mean_and_spread
from dnl.training import (
    RECIPES,
    NonFiniteLoss,
    RunError,
    TrainConfig,
    build_optimizer,
    from_dict,
    interleaved_times,
    is_run,
    open_split,
    override,
    recipe,
    resume,
    start,
    train,
    train_one_epoch,
    training_batches,
    training_update,
    with_epochs,
)
from dnl.untrusted import one_line, read_json, read_text_file

# What each network changes in the recipe's.
VARIANTS: dict[str, dict[str, Any]] = {
    "fcn": {"context": "fcn"},
    "nl": {"context": "nl"},
    "nl+gr-sigmoid": {"context": "nl+gr", "gate": "sigmoid"},
    "nl+gr-binary": {"context": "nl+gr", "gate": "binary"},
    "nl+lr": {"context": "nl+lr"},
    "dnl-sigmoid": {"context": "dnl", "gate": "sigmoid"},
    "dnl-binary": {"context": "dnl", "gate": "binary"},
    "dnl-box": {"context": "dnl", "gate": "sigmoid", "lr_weights": "box"},
}
COSTLIEST = "dnl-sigmoid"
TIMED_UPDATES = 12
SPEED_ROUNDS = 10
MOST = 100_000  # of seeds, minutes, epochs

PLAN, SCORES, NOISE, SPEED, TABLE = "plan.json", "ablation.json", "noise.json", "speed.json", "table.json"
VAL = "val"
COLUMNS = (
    Column("miou_gamma_0", "γ = 0", 3),
    Column("miou_uniform", "uniform", 3),
    Column("miou_mean", "mean row", 3),
    Column("gamma", "γ", 3),
    Column("raw_noise", "raw noise × chance", 2),
    Column("final_noise", "final noise × chance", 2),
    Column("raw_intraclass", "intraclass raw", 3),
    Column("rectified_intraclass", "rectified", 3),
    Column("retained_intraclass", "retained", 3),
    Column("raw_hollow", "hollow raw", 3),
    Column("rectified_hollow", "rectified", 3),
    Column("retained_hollow", "retained", 3),
    Column("images_per_second", "training images/s", 2),
)


def variant_config(shared: TrainConfig, variant: str, seed: int) -> TrainConfig:
    """One run's settings: the shared ones, with the variant's network and the seed."""
    return dataclasses.replace(shared, model=dataclasses.replace(shared.model, **VARIANTS[variant]), seed=seed)


def budgeted(config: TrainConfig, epochs: int) -> TrainConfig:
    """`config` for another number of epochs, with one evaluation at the end."""
    return dataclasses.replace(with_epochs(config, epochs), evaluate_every=epochs)


def run_folder(out: Path, variant: str, seed: int) -> Path:
    """Where a run of the ablation in `out` lies."""
    return out / variant / f"seed-{seed}"


def of_split(name: str, split: str) -> str:
    """The name of a file of figures that were measured on a split: as it is for val, "NAME-SPLIT.json" else."""
    path = Path(name)
    return name if split == VAL else f"{path.stem}-{split.replace(':', '-')}{path.suffix}"


def finished_runs(out: Path, split: str = VAL) -> list[tuple[str, int, Path]]:
    """Variant, seed and folder of each run that has its scores on the split, in the order of VARIANTS and seeds."""
    found, scores = [], of_split(SCORES, split)
    for variant in VARIANTS:
        seeds = sorted(int(path.parent.name.removeprefix("seed-")) for path in (out / variant).glob(f"seed-*/{scores}"))
        found += [(variant, seed, run_folder(out, variant, seed)) for seed in seeds]
    return found


def scored_split(split: str, out: Path, data: str | None) -> str:
    """The split as it was named; for dev alone that of the drive that the ablation in `out` was trained without."""
    config = json.loads((out / PLAN).read_text(encoding="utf-8"))["config"]
    return split_to_measure(split, [config], config["dataset"], data)


def is_scored(folder: Path) -> bool:
    """Whether the run in `folder` is finished and has its scores on some split."""
    return any(folder.glob(f"{Path(SCORES).stem}*.json"))


def seconds_per_update(config: TrainConfig, data: str | None, world: World) -> tuple[float, int]:
    """Median time of an update, loading included, after a first one; and the number of updates in an epoch."""
    training = open_split(config, data, "train")
    sampler, batches = training_batches(config, training, world)
    model = build_model(config.model).to(world.device)
    moments = []
    train_one_epoch(
        model,
        build_optimizer(model, config),
        islice(batches, TIMED_UPDATES),
        config,
        ignore_index=training.label_set.ignore_index,
        class_weights=None,
        first_step=0,
        total_steps=TIMED_UPDATES,
        after_step=lambda *_: moments.append(time.monotonic()),
    )
    if len(moments) < 2:
        raise RunError("an epoch of one batch is too short to be timed; give the budget as --epochs")
    return statistics.median(later - earlier for earlier, later in pairwise(moments)), sampler.batches


def shared_config(options: argparse.Namespace, world: World) -> TrainConfig:
    """What all runs share: from plan.json, which must fit what is asked for, or decided now and written there."""
    config = override(recipe(options.recipe), options.set)
    path = options.out / PLAN
    if path.exists():
        try:
            plan = read_json(read_text_file(path))
            planned, decided = from_dict(plan["config"]), (plan["recipe"], plan["minutes"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(f"{path} is not as an ablation wrote it ({error}); choose another --out") from error
        asked = (options.recipe, options.minutes, budgeted(config, options.epochs or planned.epochs))
        if asked != (*decided, planned):
            raise RunError(
                f"{path} holds another recipe, budget or settings; ask for the same, or choose another --out"
            )
        return planned
    plan = {"recipe": options.recipe, "minutes": options.minutes}
    epochs = options.epochs
    if epochs is None:
        seconds, updates = seconds_per_update(variant_config(config, COSTLIEST, 0), options.data, world)
        epochs = max(1, int(60 * options.minutes / (seconds * updates)))
        plan |= {"seconds_per_update": seconds, "updates_per_epoch": updates}
    config = budgeted(config, epochs)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(path, {**plan, "config": dataclasses.asdict(config)})
    return config


def run_one(config: TrainConfig, recipe_name: str, data: str | None, folder: Path, world: World) -> None:
    """Train one network, from its start or from where it was stopped, to its end. Raises RunError."""
    if is_run(folder):
        run = resume(recipe_name, [], folder, world)
        if run.config != config:
            raise RunError(f"{folder} was started with other settings than the plan's; move it away")
    else:
        run = start(recipe_name, config, folder, world)
    train(run, data=data, world=world)


def score(folder: Path, data: str | None, split: str, world: World) -> dict:
    """A finished run's figures on a split: scores with and without its attention, γ, parameters."""
    model, card = load_checkpoint(folder / "model.safetensors")
    model.to(world.device)
    dataset = open_dataset(card["recipe"]["dataset"], data, split)
    figures = measure_scores(model, dataset, progress=_bar(split))
    if model.context is not None:
        figures["gamma"] = model.context.gamma.item()
        figures |= measure_worth(model, dataset, progress=_bar("without the learnt attention"))
    figures["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    return figures


def measured_speeds(out: Path) -> dict[str, float]:
    """Training images per second by variant, as `measure_speeds` left them; {} without."""
    path = out / SPEED
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def measure_speeds(shared: TrainConfig, out: Path, world: World) -> None:
    """Let all variants with a finished run take turns at updates, and write SPEED, unless it holds them already."""
    variants = [name for name in VARIANTS if any(map(is_scored, (out / name).glob("seed-*")))]
    if measured_speeds(out).keys() >= set(variants):
        return
    print(f"training speed of {len(variants)} networks, taking turns", flush=True)
    updates = {name: training_update(variant_config(shared, name, 0), world.device) for name in variants}
    seconds = interleaved_times(updates, SPEED_ROUNDS)
    write_json(out / SPEED, {name: shared.batch_size / statistics.median(times) for name, times in seconds.items()})


def run_figures(out: Path, split: str = VAL) -> dict[str, list[dict]]:
    """What is known of each finished run on a split, by variant: its "seed", scores and noise; "miou_GROUP" of each
    group."""
    figures: dict[str, list[dict]] = {}
    for variant, seed, folder in finished_runs(out, split):
        paths = [folder / of_split(name, split) for name in (SCORES, NOISE)]
        known: dict[str, Any] = {"seed": seed}
        for path in paths:
            known |= json.loads(path.read_text("utf-8")) if path.exists() else {}
        by_group = {f"miou_{group}": miou for group, miou in known.get("groups", {}).items()}
        figures.setdefault(variant, []).append(known | by_group)
    return figures


def tabulate(out: Path, split: str = VAL) -> str:
    """Write table.json (mean, standard deviation and values over the seeds) and table.md; returns the latter."""
    plan = json.loads((out / PLAN).read_text(encoding="utf-8"))
    figures, speeds = run_figures(out, split), measured_speeds(out)
    groups = dict.fromkeys(group for runs in figures.values() for run in runs for group in run.get("groups", {}))
    columns = (
        Column("miou", f"{split} mIoU", 3, spread=True),
        *(Column(f"miou_{group}", group, 3, spread=True) for group in groups),
        *COLUMNS,
    )
    rows = [
        {
            "variant": variant,
            "seeds": [run["seed"] for run in runs],
            **{column.key: mean_and_spread([run.get(column.key) for run in runs]) for column in columns},
            "images_per_second": mean_and_spread([speeds.get(variant)]),
        }
        for variant, runs in figures.items()
    ]
    budget = f"{plan['config']['epochs']} epochs"
    if plan["minutes"] is not None:
        budget += f", planned as {plan['minutes']:g} minutes"
    text = (
        f"Recipe {plan['recipe']} on {plan['config']['dataset']}; {budget}. Means over seeds, ± standard deviation.\n\n"
    )
    text += markdown_table(rows, columns)
    table = {"recipe": plan["recipe"], "epochs": plan["config"]["epochs"], "split": split, "rows": rows}
    path = out / of_split(TABLE, split)
    write_json(path, table)
    write_atomically(path.with_suffix(".md"), lambda path: path.write_text(text, encoding="utf-8"))
    return text


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    show_anything()
    parser = argparse.ArgumentParser(prog=program("dnl.ablation"), description="Train and score the ablation's runs.")
    parser.add_argument("--data", help="folder of the data set")
    parser.add_argument("--out", required=True, type=Path, help="folder of the ablation")
    parser.add_argument("--recipe", default="camvid_dnl", choices=sorted(RECIPES), help="what all runs share")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of it")
    parser.add_argument("--split", default=VAL, help="split that the finished runs are scored on; val by default")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each network")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, help="budget of each run's training on this machine; 10 by default")
    budget.add_argument("--epochs", type=int, help="budget of each run in epochs")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS, metavar="VARIANT")
    options = parser.parse_args(arguments)
    if options.minutes is None and options.epochs is None:
        options.minutes = 10.0
    kept = f"what is finished is kept in {one_line(str(options.out), 120)}: the same command goes on"

    def work() -> None:
        with joined() as world:
            run_all(options, world)

    return exit_status(work, told=lambda error: f"{in_one_line(error)}; {kept}", also=(NonFiniteLoss,))


def run_all(options: argparse.Namespace, world: World) -> None:
    """Train and score all runs that are not finished yet, seeds first, and print the table. Raises RunError."""
    if world.size > 1:
        raise RunError(f"an ablation runs in one process, not in {world.size}; start it without torchrun")
    for name in ("seeds", "minutes", "epochs"):
        value = getattr(options, name)
        if value is not None and not 0 < value <= MOST:
            raise RunError(f"--{name} is {value}; it must be above 0, at most {MOST:,}")
    shared = shared_config(options, world)
    split = scored_split(options.split, options.out, options.data)
    open_dataset(shared.dataset, options.data, split)  # what does not fit is said before any training
    for seed in range(options.seeds):
        for variant in options.variants:
            folder = run_folder(options.out, variant, seed)
            scores = folder / of_split(SCORES, split)
            if scores.exists():
                continue
            print(f"{variant}, seed {seed}", flush=True)
            if not is_scored(folder):
                run_one(variant_config(shared, variant, seed), options.recipe, options.data, folder, world)
            write_json(scores, score(folder, options.data, split, world))
            tabulate(options.out, split)
    measure_speeds(shared, options.out, world)
    print(tabulate(options.out, split))


def _bar(description: str) -> Callable:
    return lambda items: tqdm(items, desc=description, leave=False)


def program_main() -> int:
    """`main` as a program of its own, which asks for huge pages."""
    ask_for_huge_pages()
    return main()


if __name__ == "__main__":
    sys.exit(program_main())
