"""Checkpoint cards, training logs and the ablation's results as words and tables for reading.

Tables are lists of rows, a row is a dictionary from column to text or number; what a card does not say is None.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from analysis.card.health import COST_WORDS, Health, attention_health
from analysis.words import STAGE_WORDS
from dnl.ablation import VAL, VARIANTS
from dnl.checkpoints import CheckpointError, recipes_of
from dnl.training import RECIPES, with_epochs
from dnl.training.config import part_names

CONTEXT_WORDS = {
    "fcn": "no attention (FCN)",
    "nl": "plain non-local",
    "nl+gr": "non-local with GR",
    "nl+lr": "non-local with LR",
    "dnl": "Denoised NL (GR and LR)",
}
# The settings that say most, in the words of a reader; the card's own names stand in the full table.
RECIPE_WORDS = {
    "recipe.name": "recipe",
    "recipe.epochs": "passes over the data set",
    "total_steps": "updates",
    "recipe.batch_size": "images a batch",
    "recipe.crop_height": "crop height (pixels)",
    "recipe.crop_width": "crop width (pixels)",
    "recipe.optimizer": "optimiser",
    "recipe.learning_rate": "peak learning rate",
    "recipe.query_key_rate": "rate of queries and keys, relative",
    "recipe.weight_decay": "weight decay",
    "recipe.streets_per_epoch": "built-in streets a pass",
    "recipe.start_from": "started from",
    "recipe.learning_parts": "parts that learnt",
    "recipe.seed": "seed",
    "recipe.mean_of": "mean of the weights after trainings",
}
NETWORK_WORDS = {
    "config.backbone": "backbone",
    "config.width": "width (channels of stage 1)",
    "config.num_classes": "classes",
    "config.attention_stride": "pixels per attention cell",
    "config.head_stride": "pixels per cell of the prediction",
    "config.lr_kernel": "LR window (cells)",
    "config.lr_weights": "LR weights",
}
LR_SETTINGS = ("config.lr_kernel", "config.lr_weights")
# What a card's list of settings leaves out: it has a place of its own.
UNLISTED = ("metrics", "label_set", "began_with")
# Of each gate, as `analysis.card.measuring` measures them.
GATED_STAGE_WORDS = {
    "rectified": STAGE_WORDS["rectified"],
    "retained": STAGE_WORDS["retained"],
    "box": "constant box in place of LR",
}
ABLATION_WORDS = {
    "miou": "mean IoU",
    "miou_gamma_0": "mean IoU, γ = 0",
    "miou_uniform": "mean IoU, uniform",
    "miou_mean": "mean IoU, mean row",
    "gamma": "γ",
    "raw_noise": "interclass noise × chance, raw",
    "final_noise": "interclass noise × chance, final",
    "raw_intraclass": "intraclass noise, raw",
    "rectified_intraclass": "intraclass noise, rectified",
    "retained_intraclass": "intraclass noise, retained",
    "raw_hollow": "hollow fraction, raw",
    "rectified_hollow": "hollow fraction, rectified",
    "retained_hollow": "hollow fraction, retained",
    "images_per_second": "training images/s",
}


class Ablation(NamedTuple):
    """The ablation's table: one row a network, entries as text; and sentences on what all share and what is missing."""

    rows: list[dict[str, str]]
    about: str


class CardView(NamedTuple):
    """A card for reading.

    network, recipe, settings: rows of "setting" and "value"; `settings` holds every value under its own name.
    scores: data set -> {"miou", "pixel_accuracy", "iou": {class: …}, …}, fractions. noise: one row a gate and stage;
    noise_source: what it was measured on, and how far it can be trusted, in words.
    command: the shell command that trains it again, None where the card does not name its recipe. history: what was
    changed on the way of its training. choice: which split it was chosen on, and how often test was looked at.
    """

    name: str
    network: list[dict]
    recipe: list[dict]
    settings: list[dict]
    data: str
    licence: str
    scores: dict[str, dict]
    noise: list[dict]
    noise_source: str
    health: Health
    command: str | None
    history: list[str]
    choice: str


def view_card(card: Mapping) -> CardView:
    """`card` for reading. Raises CheckpointError where its entries have another form than this project writes."""
    try:
        metrics = card.get("metrics", {})
        flat = flatten({name: value for name, value in card.items() if name not in UNLISTED})
        return CardView(
            name=str(card.get("name", "without a name")),
            network=_network_rows(card["config"], flat),
            recipe=_rows(flat, RECIPE_WORDS) + _earlier_trainings(card),
            settings=[{"setting": name, "value": _text(value)} for name, value in flat.items()],
            data=str(card.get("data", "not said")),
            licence=str(card.get("licence", "not said")),
            scores=_scores(metrics),
            noise=noise_rows(metrics),
            noise_source=noise_source(metrics),
            health=attention_health(metrics),
            command=train_command(card),
            choice=choice_sentences(card),
            history=[str(line) for line in card.get("training_history", [])],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"its card has entries of another form than this project writes ({error!r}); save or measure it again"
        ) from error


def _earlier_trainings(card: Mapping) -> list[dict]:
    """A row for what the weights learnt before the card's own recipe, none where that began at random."""
    before = recipes_of({**card, "recipe": None})
    words = [f"{recipe.get('name', 'unnamed')} ({_text(recipe.get('epochs', 'unknown'))} passes)" for recipe in before]
    return [{"setting": "trained before by", "value": ", then ".join(words)}] if words else []


def choice_sentences(card: Mapping) -> str:
    """Which split a network was chosen on, and how often its card was measured on test."""
    chosen, looks = card.get("chosen_on"), card.get("looks", {})
    if chosen is None:
        sentence = "The card does not say which split it was chosen on."
    else:
        sentence = f"Chosen on {chosen['dataset']} {chosen['split']} ({int(chosen['images'])} images)."
    tests = {name: int(count) for name, count in looks.items() if name.rpartition(" ")[2] == "test"}
    for name, count in tests.items():
        sentence += f" Measured on {name} {'once' if count == 1 else f'{count} times'}."
    if tests:
        return sentence
    measured = any(name.endswith("_test") for name in card.get("metrics", {}))
    looked = "How often test was measured is not recorded." if measured else "The card has no figure of test."
    return f"{sentence} {looked}"


def overview_row(view: CardView) -> dict:
    """One line of the table of all checkpoints."""
    scores = {words: score["miou"] for words, score in view.scores.items()}
    return {
        "checkpoint": view.name,
        "network": view.network[0]["value"],
        "mean IoU": next(iter(scores.values()), None),
        "measured on": next(iter(scores), "not measured"),
        "attention": view.health.state if "no attention" not in view.network[0]["value"] else "none",
        "data": view.data,
    }


def flatten(entries: Mapping, prefix: str = "") -> dict[str, object]:
    """Nested dictionaries as one, with dotted names."""
    flat: dict[str, object] = {}
    for name, value in entries.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _network_rows(config: Mapping, flat: Mapping) -> list[dict]:
    context = CONTEXT_WORDS.get(config["context"], config["context"])
    gate = f", {config['gate']} gate" if config["context"] in ("nl+gr", "dnl") else ""
    has_lr = config["context"] in ("nl+lr", "dnl")
    words = {name: word for name, word in NETWORK_WORDS.items() if has_lr or name not in LR_SETTINGS}
    return [{"setting": "attention", "value": f"{context}{gate}"}, *_rows(flat, words)]


def _rows(flat: Mapping, words: Mapping[str, str]) -> list[dict]:
    """The entries that `words` names and that are there; an empty text counts as not there."""
    known = {name: word for name, word in words.items() if flat.get(name, "") != ""}
    parts = "recipe.learning_parts"  # commas alone would leave a narrow column no place to break the line
    means = "recipe.mean_of"
    spaced = {
        **flat,
        parts: ", ".join(part_names(str(flat.get(parts, "")))),
        means: ", ".join(map(str, list(flat.get(means, ())))),
    }
    return [{"setting": word, "value": _text(spaced[name])} for name, word in known.items()]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _scores(metrics: Mapping) -> dict[str, dict]:
    """The card's scores by the data set's name in words, those of test first; every score is a number."""
    scores = {}
    for name, entry in sorted(metrics.items(), key=lambda item: not item[0].endswith("_test")):
        if isinstance(entry, Mapping) and "miou" in entry:
            dataset, _, split = name.partition("_")
            scores[f"{dataset} {split}"] = {key: _numbers(value) for key, value in entry.items()}
    return scores


def worth_of(scores: Mapping) -> dict[str, float]:
    """What is in the attention's place, in words -> mean IoU, the learnt map first; of one entry of `CardView.scores`.

    {} where nothing was put in its place.
    """
    replaced = {words.removesuffix(" in its place"): scores[key] for key, words in COST_WORDS.items() if key in scores}
    return {"the learnt map": scores["miou"], **replaced} if replaced else {}


def _numbers(value: Any) -> float | dict[str, float]:
    return {name: float(number) for name, number in value.items()} if isinstance(value, Mapping) else float(value)


def noise_rows(metrics: Mapping) -> list[dict]:
    """One row for the raw stage, then one for each gate and stage (macro means); none where nothing was measured."""
    rows = []
    if raw := metrics.get("attention", {}).get("raw"):
        rows.append(_noise_row("–", "raw", raw, None))
    for gate, stages in metrics.get("gates", {}).items():
        for stage, words in GATED_STAGE_WORDS.items():
            if stage in stages:
                rows.append(_noise_row(gate, words, stages[stage], stages.get("emptied", {}).get(stage)))
    return rows


def noise_source(metrics: Mapping) -> str:
    """What the noise was measured on, with the limits of the raw map's and what they speak of; "" where unknown."""
    attention = metrics.get("attention", {})
    if not attention:
        return ""
    split = metrics.get("attention_split")
    sentence = f"Measured on {'a split that the card does not name' if split is None else str(split)}"
    if "images" in attention:
        sentence += f", {int(attention['images'])} images"
    noise, facts = attention.get("raw", {}).get("interclass_noise", {}), attention.get("intervals", {})
    if noise.get("low") is None or noise.get("high") is None or "speaks_of" not in facts:
        return f"{sentence}."
    return (
        f"{sentence}. Raw interclass noise: {float(noise['mean']):.3f}, 95 % interval {float(noise['low']):.3f} … "
        f"{float(noise['high']):.3f}, {facts['method']}; it speaks of {facts['speaks_of']}."
    )


def _noise_row(gate: str, stage: str, entry: Mapping, emptied: int | None) -> dict:
    noise = entry["interclass_noise"]
    mean, chance = noise.get("mean"), noise.get("chance")
    return {
        "gate": gate,
        "stage": stage,
        "interclass noise": mean,
        "× chance": mean / chance if mean is not None and chance else None,
        "hollow fraction": entry["hollow_fraction"]["mean"],
        "intraclass noise": entry["intraclass_noise"]["mean"],
        "kept mass": entry["kept_mass"]["mean"] if "kept_mass" in entry else None,
        "emptied rows": emptied,
    }


def train_command(card: Mapping) -> str | None:
    """The command that trains this network again: the recipe, and --set for what differs from the recipe of today.

    Where the training started from the weights of others that the card knows, theirs come first.
    """
    if "command" in card:
        return str(card["command"])
    recipes = recipes_of(card) if dict(card.get("recipe", {})) else ()
    if not recipes or any("name" not in recipe for recipe in recipes):
        return None
    commands = []
    reached: dict[int, str] = {}  # the weights by the number of trainings behind them
    for number, recipe in enumerate(recipes, start=1):
        folder = "runs/again" if number == len(recipes) else f"runs/again-{number}"
        commands.append(_train_command(recipe, folder, reached.get(number - 1)))
        reached[number] = f"{folder}/model.safetensors"
        if counts := recipe.get("mean_of"):
            parts = " ".join(reached[int(count)] for count in counts)
            reached[number] = f"{folder}/mean.safetensors"
            commands.append(f"python -m dnl.checkpoints.average --out {reached[number]} {parts}")
    return "\n".join(commands)


def _train_command(recipe: Mapping, folder: str, start: str | None) -> str:
    """start: the weights that this one starts from."""
    settings = {**recipe, "start_from": start} if start else dict(recipe)
    name = settings.pop("name")
    command = f"python -m dnl.train --recipe {name} --data path/to/data --out {folder}"
    if name in RECIPES:
        epochs = settings.get("epochs")
        own = RECIPES[name]
        today = flatten(dataclasses.asdict(with_epochs(own, epochs) if type(epochs) is int and epochs > 0 else own))
        for key, value in flatten(settings).items():
            if key in today and (today[key] != value or (key == "epochs" and value != own.epochs)):
                command += f" \\\n    --set {key}={value}"
    return command


# --- a run's log, and the ablation -----------------------------------------------------------------------------------


def training_logs(checkpoint: Path | None, folder: Path | None) -> dict[str, Path]:
    """The metrics.jsonl files of runs by name: the checkpoint's own first, then those in `folder`.

    checkpoint: the file whose run is asked for. Its own log lies beside it: metrics.jsonl for the model.safetensors of
    a run, NAME.metrics.jsonl for NAME.safetensors. folder: where runs may lie, in it or in its subfolders.
    """
    logs = {}
    if checkpoint is not None:
        name = "metrics.jsonl" if checkpoint.name == "model.safetensors" else f"{checkpoint.stem}.metrics.jsonl"
        own = checkpoint.with_name(name)
        if own.is_file():
            logs["this checkpoint's run"] = own
    if folder is not None and folder.is_dir():
        for log in sorted([*folder.glob("metrics.jsonl"), *folder.glob("*/metrics.jsonl")]):
            if log not in logs.values():
                logs[log.parent.name] = log
    return logs


def read_log(path: Path) -> list[dict]:
    """The records of a metrics.jsonl, one an epoch, numbers only. Raises ValueError naming a wrong line."""
    records = []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        try:
            record = json.loads(line)
            records.append({"epoch": int(record["epoch"])} | {name: float(value) for name, value in record.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"line {number} of {path.name} is no record of an epoch ({error!r})") from error
    return records


def read_ablation(path: Path) -> Ablation | None:
    """The table.json of `python -m dnl.ablation` for reading, None where there is no such file.

    Its form: {"recipe", "epochs", "split", "rows": [{"variant", "seeds": […], figure: {"mean", "sd"} or null, …}, …]};
    the split is val where it is not named. A figure that no network has is left out. Raises ValueError when it has
    another form.
    """
    if not path.is_file():
        return None
    try:
        table = json.loads(_read(path))
        known = [name for name in table["rows"][0] if name not in ("variant", "seeds")]
        known = [name for name in known if any(row[name] is not None for row in table["rows"])]
        rows = [
            {"network": row["variant"], "seeds": str(len(row["seeds"]))}
            | {_figure_in_words(name): _mean_and_spread(row[name]) for name in known}
            for row in table["rows"]
        ]
        split = table.get("split", VAL)
        sentences = [
            f"Recipe {table['recipe']}, {table['epochs']} epochs for each network, measured on {split}.",
            _runs_in_words([len(row["seeds"]) for row in table["rows"]]),
            _missing_in_words([row["variant"] for row in table["rows"]]),
        ]
        return Ablation(rows, " ".join(filter(None, sentences)))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} has another form than dnl.ablation writes ({error!r})") from error


def _figure_in_words(name: str) -> str:
    """What a figure of the ablation is called; of those that are not listed, "miou_GROUP" is a group's mean IoU."""
    return ABLATION_WORDS.get(name, name.replace("miou_", "mean IoU, ", 1))


def _runs_in_words(seeds: Sequence[int]) -> str:
    """What the figures are means of. seeds: how many each network has."""
    fewest, most = min(seeds), max(seeds)
    if most == 1:
        return "One run each: how far another seed would lie from it is not known."
    if fewest == most:
        return f"Means over {most} seeds, ± standard deviation."
    return f"Means over {fewest} … {most} seeds, ± standard deviation where there is more than one."


def _missing_in_words(variants: Sequence[str]) -> str:
    missing = [variant for variant in VARIANTS if variant not in variants]
    return f"Missing of the {len(VARIANTS)} networks: {', '.join(missing)}." if missing else ""


def _mean_and_spread(figure: Mapping | None) -> str:
    if figure is None:
        return "–"
    spread = "" if figure["sd"] is None else f" ± {figure['sd']:.3f}"
    return f"{figure['mean']:.3f}{spread}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror})") from error
