"""Tables for a paper out of summaries: of stages, classes, groups and differences, with what they rest on."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from analysis.measure import NOISE_METRICS
from analysis.options import own_stages
from analysis.words import METRIC_WORDS, p_words

HASH_DIGITS = 12  # of a checkpoint's SHA-256 in a caption


class Figure(NamedTuple):
    """A number, and its interval where it has one. None: there is none."""

    mean: float | None
    low: float | None = None
    high: float | None = None


class Row(NamedTuple):
    """names: what the row is about. cells: its figures, or words in place of one."""

    names: tuple[str, ...]
    cells: tuple[Figure | str, ...]


class PaperTable(NamedTuple):
    """label: of letters, digits and hyphens. names, columns: headers over the rows' names and cells. blocks: rows that
    belong together, with a line between blocks."""

    label: str
    caption: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    blocks: tuple[tuple[Row, ...], ...]


CSV_HEADER = ("checkpoint", "over", "name", "stage", "figure", "mean", "low", "high", "chance", "p", "p_holm", "effect")


def paper_tables(summaries: Mapping[str, Mapping], comparison: Mapping | None = None) -> list[PaperTable]:
    """All tables of the summaries, checkpoint -> its summary with "provenance"; tables without a figure are left out.

    comparison: as `checkpoint_differences` gives it.
    """
    tables = [_stage_table(summaries)]
    for number, (name, summary) in enumerate(summaries.items(), start=1):
        for metric in NOISE_METRICS:
            tables.append(_class_table(number, name, summary, metric))
            tables.append(_group_table(number, name, summary, metric))
        pairs = {pair: (pair, metrics) for pair, metrics in summary["differences"].items()}
        caption = f"What each stage changes of the noise of {name}"
        tables.append(_difference_table(f"changes-{number}", f"{caption}. {_rests_on(summary)}", pairs))
    if comparison:
        named = {
            f"{pair} {stage}": (f"{pair}, {stage}", metrics)
            for pair, block in comparison.items()
            for stage, metrics in block["stages"].items()
            if stage in own_stages(block["stages"])
        }
        tables.append(_difference_table("comparison", f"How the checkpoints differ. {_all_rest_on(summaries)}", named))
    return [table for table in tables if any(table.blocks)]


def csv_rows(summaries: Mapping[str, Mapping], comparison: Mapping | None = None) -> Iterator[tuple]:
    """The figures of all the tables, one a row, as in CSV_HEADER. over: images, class, group or difference."""
    for name, summary in summaries.items():
        for stage, metrics in summary["stages"].items():
            for metric in NOISE_METRICS:
                yield name, "images", None, stage, metric, *_csv(metrics[metric])
                for label, entry in metrics[metric]["per_class"].items():
                    yield name, "class", label, stage, metric, *_csv(entry)
        for group, block in summary["groups"].items():
            for stage, metrics in block["stages"].items():
                for metric in NOISE_METRICS:
                    yield name, "group", group, stage, metric, *_csv(metrics[metric])
        for pair, metrics in summary["differences"].items():
            yield from _csv_differences(name, pair, metrics)
    for pair, block in (comparison or {}).items():
        for stage, metrics in block["stages"].items():
            yield from _csv_differences(pair, stage, metrics)


def _csv(entry: Mapping) -> tuple:
    return tuple(entry.get(name) for name in CSV_HEADER[CSV_HEADER.index("mean") :])


def _csv_differences(name: str, stage: str, metrics: Mapping) -> Iterator[tuple]:
    for metric in NOISE_METRICS:
        yield name, "difference", None, stage, metric, *_csv(metrics[metric])
        for label, entry in metrics[metric]["per_class"].items():
            yield name, "difference of a class", label, stage, metric, *_csv(entry)


# --- the tables ------------------------------------------------------------------------------------------------------


def _stage_table(summaries: Mapping[str, Mapping]) -> PaperTable:
    """Checkpoints and their stages and controls by the kinds of noise."""
    blocks = []
    for name, summary in summaries.items():
        rows: list[Row] = []
        for stage, metrics in summary["stages"].items():
            interclass = metrics["interclass_noise"]
            times = Figure(*(interclass[key] for key in ("times_chance", "times_chance_low", "times_chance_high")))
            others = (_figure(metrics[metric]) for metric in NOISE_METRICS[1:])
            rows.append(Row(("" if rows else name, stage), (_figure(interclass), times, *others)))
        blocks.append(tuple(rows))
    columns = (METRIC_WORDS["interclass_noise"], "× chance", *(METRIC_WORDS[metric] for metric in NOISE_METRICS[1:]))
    caption = f"Attention noise by stage, macro means with their intervals. {_all_rest_on(summaries)}"
    return PaperTable("stages", caption, ("checkpoint", "stage"), columns, tuple(blocks))


def _class_table(number: int, name: str, summary: Mapping, metric: str) -> PaperTable:
    """Classes by stages, the mean of all first."""
    stages = own_stages(summary["stages"])
    of_stages = [summary["stages"][stage][metric] for stage in stages]
    classes = list(of_stages[0]["per_class"])
    every = Row(("all classes",), tuple(map(_figure, of_stages)))
    rows = [Row((label,), tuple(_figure(block["per_class"].get(label)) for block in of_stages)) for label in classes]
    caption = f"{METRIC_WORDS[metric].capitalize()} of {name} by class. {_rests_on(summary)}"
    label = f"classes-{number}-{metric.replace('_', '-')}"
    return PaperTable(label, caption, ("class",), tuple(stages), ((every,), tuple(rows)) if rows else ())


def _group_table(number: int, name: str, summary: Mapping, metric: str) -> PaperTable:
    """Groups by stages."""
    stages = own_stages(summary["stages"])
    rows = tuple(
        Row(
            (group, f"{block['images']}"),
            tuple(_figure(block["stages"].get(stage, {}).get(metric)) for stage in stages),
        )
        for group, block in summary["groups"].items()
    )
    caption = f"{METRIC_WORDS[metric].capitalize()} of {name} by group. {_rests_on(summary)}"
    label = f"groups-{number}-{metric.replace('_', '-')}"
    return PaperTable(label, caption, ("group", "images"), tuple(stages), (rows,) if rows else ())


def _difference_table(label: str, caption: str, differences: Mapping[str, tuple[str, Mapping]]) -> PaperTable:
    """Tested differences. differences: any key -> what is compared, and metric -> its difference."""
    blocks = []
    for words, metrics in differences.values():
        rows: list[Row] = []
        for metric in NOISE_METRICS:
            entry = metrics[metric]
            if entry["mean"] is not None:
                name = "" if rows else words.replace(" - ", " − ")
                p = "–" if entry["p"] is None else p_words(entry["p"]).removeprefix("p ").removeprefix("= ")
                rows.append(Row((name, METRIC_WORDS[metric]), (_figure(entry), p, Figure(entry["effect"]))))
        blocks.append(tuple(rows))
    caption += " p: sign flips of paired differences. Effect: in standard deviations of the images' differences."
    kept = tuple(block for block in blocks if block)
    return PaperTable(label, caption, ("difference", "figure"), ("change", "p", "effect"), kept)


def _figure(entry: Mapping | None) -> Figure:
    return Figure(None) if entry is None else Figure(entry["mean"], entry["low"], entry["high"])


# --- captions --------------------------------------------------------------------------------------------------------


def _all_rest_on(summaries: Mapping[str, Mapping]) -> str:
    """What the figures of all the checkpoints rest on; settings that all share are said once."""
    if len(summaries) == 1:
        return _rests_on(next(iter(summaries.values())))
    settings = {name: _settings(summary) for name, summary in summaries.items()}
    if len(set(settings.values())) > 1:
        return " ".join(f"{name}: {_rests_on(summary)}" for name, summary in summaries.items())
    versions = (f"{name}: {_versions(summary['provenance'])}" for name, summary in summaries.items())
    return " ".join((next(iter(settings.values())), *versions))


def _rests_on(summary: Mapping) -> str:
    return f"{_settings(summary)} {_versions(summary['provenance'])}"


def _settings(summary: Mapping) -> str:
    """The settings of a summary in sentences."""
    about = summary["provenance"]
    images = f"{summary['images']:,} image{'s' * (summary['images'] != 1)}"
    data = ", ".join(filter(None, (about.get("dataset"), about.get("split"), images, _groups(summary))))
    return f"On {data}, against {summary['label_source']}; {_maps(about)}. {_intervals(summary)}"


def _groups(summary: Mapping) -> str:
    count = len(summary["groups"])
    return f"{count} group{'s' * (count != 1)}" if count else ""


def _maps(about: Mapping) -> str:
    """Gate, LR and temperature, "model" standing for the network's own."""
    options, own = about["options"], about.get("model", {})
    said = []
    for key, words in (("gate", "gate"), ("lr_kernel", "LR window")):
        value = options.get(key)
        value = own.get(key, "the model's own") if value == "model" else value
        said.append(f"{words} {'none' if value is None else value}")
    if options.get("lr_weights") == "box":
        said.append("LR weights a constant box")
    if options.get("temperature", 1) != 1:
        said.append(f"temperature {options['temperature']:g}")
    return ", ".join(said)


def _intervals(summary: Mapping) -> str:
    facts = summary["intervals"]
    if facts["method"] in (None, "none"):
        return "No intervals."
    return f"{100 * facts['level']:.0f} % intervals by {facts['method']}, which speak of {facts['speaks_of']}."


def _versions(about: Mapping) -> str:
    networks = about["checkpoint"].get("members", [about["checkpoint"]])
    hashes = ", ".join(network["sha256"][:HASH_DIGITS] for network in networks)
    words = "Checkpoint" if len(networks) == 1 else f"{len(networks)} checkpoints taken as one,"
    return f"{words} SHA-256 {hashes}; dnl {about['version']}."
