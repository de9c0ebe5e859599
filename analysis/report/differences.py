"""The parts of the report's page on what differs: between stages, and between checkpoints, with the tests of it."""

from collections.abc import Mapping
from html import escape
from typing import Any

from analysis.measure import NOISE_METRICS
from analysis.options import own_stages
from analysis.report.charts import CLASS_METRICS
from analysis.report.html import difference, figure_html, table_html, with_interval
from analysis.words import METRIC_WORDS, conclusion, p_words


def stage_changes(summary: Mapping, charts: Mapping[str, str]) -> list[str]:
    """What each stage changes; nothing where there is one stage alone."""
    differences = summary["differences"]
    if not differences:
        return []
    shown = (*CLASS_METRICS, "kept_mass")
    metrics = [m for m in shown if any(block[m]["mean"] is not None for block in differences.values())]
    names = {pair: pair.replace(" - ", " − ") for pair in differences}
    rows = [
        (names[pair], *(_tested(metrics_of[metric]) for metric in metrics)) for pair, metrics_of in differences.items()
    ]
    return [
        "<h2>What each stage changes</h2>",
        table_html(
            "Paired by image, with tests of the noise.", ("", *(METRIC_WORDS[metric] for metric in metrics)), rows
        ),
        _conclusions({names[pair]: metrics_of for pair, metrics_of in differences.items()}),
        figure_html(charts["differences"], "Paired differences with 95 % intervals."),
        _by_class({names[pair]: metrics_of["interclass_noise"] for pair, metrics_of in differences.items()}),
    ]


def checkpoint_comparison(
    summaries: Mapping[str, Mapping], comparison: Mapping, charts: Mapping[str, str]
) -> list[str]:
    """Checkpoints side by side, and their paired differences."""
    stages = own_stages(stage for summary in summaries.values() for stage in summary["stages"])

    def cell(summary: Mapping, stage: str, metric: str) -> str:
        return with_interval(summary["stages"][stage][metric]) if stage in summary["stages"] else "not there"

    rows = [
        (
            name,
            *(cell(summary, stage, metric) for metric in ("interclass_noise", "hollow_fraction") for stage in stages),
        )
        for name, summary in summaries.items()
    ]
    header = ("checkpoint", *(f"{stage} {words}" for words in ("noise", "hollow") for stage in stages))
    parts = [
        "<h2>Comparison</h2>",
        table_html("Interclass noise and hollow fraction, macro means.", header, rows),
        figure_html(charts["comparison"], "The checkpoints side by side, with 95 % intervals."),
    ]
    for pair, block in comparison.items():
        rows = [
            (stage, *(_tested(metrics[metric]) for metric in NOISE_METRICS))
            for stage, metrics in block["stages"].items()
        ]
        caption = f"{pair.replace(' - ', ' − ')}, paired over {block['images']} images."
        parts.append(table_html(caption, ("stage", *(METRIC_WORDS[metric] for metric in NOISE_METRICS)), rows))
        own: dict[str, Any] = {stage: block["stages"][stage] for stage in own_stages(block["stages"])}
        parts.append(_conclusions(own))
        parts.append(_by_class({stage: metrics["interclass_noise"] for stage, metrics in own.items()}))
    return parts


def _tested(entry: Mapping) -> str:
    """A difference with its interval, p and effect; those that are not tested with their interval alone."""
    test = "" if entry.get("p") is None else f"<small>{p_words(entry['p'])}{_effect(entry)}</small>"
    return difference(entry) + test


def _effect(entry: Mapping) -> str:
    return "" if entry["effect"] is None else f", effect {entry['effect']:+.2f}".replace("-", "−")


def _conclusions(differences: Mapping[str, Mapping]) -> str:
    """What may be concluded. differences: what is compared -> metric -> its difference."""
    items = [
        f"<li><b>{escape(name)}</b>: {escape(conclusion(metric, metrics[metric]))}</li>"
        for name, metrics in differences.items()
        for metric in NOISE_METRICS
    ]
    return f"<ul>{''.join(items)}</ul>"


def _by_class(differences: Mapping[str, Mapping]) -> str:
    """Interclass noise class by class, a column for each of the differences."""
    classes = list(dict.fromkeys(name for block in differences.values() for name in block["per_class"]))
    if not classes:
        return ""
    rows = [(name, *(_of_class(block["per_class"].get(name)) for block in differences.values())) for name in classes]
    caption = "Differences in interclass noise by class; p is corrected for the number of classes (Holm)."
    return table_html(caption, ("class", *differences), rows)


def _of_class(entry: Mapping | None) -> str:
    if entry is None:
        return "–"
    corrected = "" if entry["p_holm"] is None else f"<small>{p_words(entry['p_holm'])}{_effect(entry)}</small>"
    return difference(entry) + corrected
