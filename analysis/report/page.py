"""The report as one self-contained HTML page: headline figures, controls, then details, definitions in words."""

from collections.abc import Mapping, Sequence
from html import escape

from analysis import noise
from analysis.measure import NOISE_METRICS
from analysis.options import STAGES, own_stages
from analysis.report.charts import CLASS_METRICS
from analysis.report.differences import checkpoint_comparison, stage_changes
from analysis.report.html import (
    difference,
    figure_html,
    images_words,
    number_words,
    percent,
    plain,
    table_html,
    times_chance_figure,
    whole_page,
    with_interval,
)
from analysis.words import (
    CONTROL_WORDS,
    LEARNT_WARNING,
    METRIC_WORDS,
    OWN_DEFINITIONS,
    PREDICTION_WARNING,
    REPORT_DEFINITIONS,
    SPLIT_DEFINITIONS,
    interval_sentences,
)

MOST_GROUP_ROWS = 60
HEADLINE = ("interclass_noise", "intraclass_noise", "hollow_fraction", "kept_mass", "effective_keys", "auc")


def report_page(
    summaries: Mapping[str, Mapping],
    charts: Mapping[str, Mapping[str, str]],
    maps: Mapping[str, Sequence[tuple[str, str]]],
    *,
    title: str,
    subject: str,
    facts: Sequence[tuple[str, str]],
    comparison: Mapping | None = None,
    key: Mapping[str, str] | None = None,
) -> str:
    """The page. summaries: checkpoint -> its summary. charts: checkpoint -> chart name -> inline SVG, with the charts
    of the comparison under "". maps: checkpoint -> (image name, inline SVG) of the noisiest images. facts: name and
    value of what the report rests on. subject: the data set in words. comparison: the checkpoints' differences. key:
    what the charts write instead of names -> the names."""
    first = next(iter(summaries.values()))
    parts = [f"<h1>{escape(title)}</h1>", _lead(first, subject)]
    if comparison is not None:
        links = "".join(f'<a href="#checkpoint-{number}">{escape(name)}</a>' for number, name in enumerate(summaries))
        parts += [f"<nav>{links}</nav>", *checkpoint_comparison(summaries, comparison, charts[""])]
    for number, (name, summary) in enumerate(summaries.items()):
        if comparison is not None:
            parts.append(f'<h1 id="checkpoint-{number}">{escape(name)}</h1>')
        parts += _checkpoint(summary, charts[name], maps[name])
    if key:
        parts.insert(
            2, '<p>Some names have numbers in the charts, or are cut: they are <a href="#names">listed</a>.</p>'
        )
        entries = "".join(f"<dt>{escape(number)}</dt><dd>{escape(name)}</dd>" for number, name in key.items())
        parts += ['<h2 id="names">Names in the charts</h2>', f"<dl>{entries}</dl>"]
    parts += _definitions(first)
    rests_on = "".join(f"<dt>{escape(name)}</dt><dd><code>{escape(value)}</code></dd>" for name, value in facts)
    parts += ["<h2>What this rests on</h2>", f"<dl>{rests_on}</dl>"]
    return whole_page(title, parts)


def _lead(summary: Mapping, subject: str) -> str:
    images, queries = images_words(summary["images"]), number_words(summary["queries"], "query", "queries")
    parts = [f"<p>{images} of {escape(subject)}, {queries}. {OWN_DEFINITIONS}</p>"]
    if summary["label_source"] == "ground truth":
        parts.append("<p>Labels: ground truth.</p>")
    else:
        parts.append(f'<p class="mark"><strong>{PREDICTION_WARNING}</strong></p>')
    if summary.get("provenance", {}).get("learnt_from"):
        parts.append(f'<p class="mark"><strong>{LEARNT_WARNING}</strong></p>')
    if summary["limits"]["min_images"] < noise.MIN_IMAGES:
        parts.append(
            f'<p class="mark">A class counts here with {images_words(summary["limits"]["min_images"])} already, so the '
            f"intervals of rare classes say little; reports on larger sets ask for {noise.MIN_IMAGES}.</p>"
        )
    return "\n".join(parts)


def _checkpoint(summary: Mapping, charts: Mapping[str, str], maps: Sequence[tuple[str, str]]) -> list[str]:
    stages = own_stages(summary["stages"])
    controls = [stage for stage in summary["stages"] if stage not in STAGES]
    names = ", ".join(f"{escape(name)}" for name in controls)
    parts = [
        "<h2>Headline figures</h2>",
        _stage_table(summary, stages, "Macro means, below them their intervals."),
        f"<p>{escape(interval_sentences(summary))}</p>",
        f"<p>{_in_words(summary)}</p>",
        *_networks(summary),
        "<h2>Controls</h2>",
        f"<p>What other maps get on the same labels ({names}), so that a side effect is not taken for the method.</p>",
        _stage_table(summary, controls, "Macro means, below them their intervals."),
        "<ul>" + "".join(f"<li><b>{stage}</b>: {escape(CONTROL_WORDS[stage])}</li>" for stage in controls) + "</ul>",
        figure_html(charts["stages"], "All stages and controls (hatched). The broken line is chance."),
        *stage_changes(summary, charts),
        *_groups(summary, charts),
        "<h2>By class</h2>",
    ]
    parts += [
        figure_html(
            charts[f"classes_{metric}"], f"{METRIC_WORDS[metric].capitalize() if metric != 'auc' else 'AUC'} by class."
        )
        for metric in CLASS_METRICS
        if f"classes_{metric}" in charts
    ]
    parts += [
        "<h2>Where the attention goes</h2>",
        "<p>Each row is a class of queries; it says on which classes their attention falls. The diagonal is attention "
        "on the own class.</p>",
        *(figure_html(charts[f"leakage_{stage}"], f"Leakage, {stage}.") for stage in stages),
        "<h2>Where the noise is</h2>",
        _split_table(summary),
        "<h2>Hollows</h2>",
        figure_html(charts["hollow_curve"], "Share of a query's own class that gets less than τ times its mean."),
    ]
    if maps:
        parts += [
            "<h2>The noisiest images</h2>",
            "<p>Interclass noise of every query, painted at its cell; grey cells have none.</p>",
            *(figure_html(svg, name) for name, svg in maps),
        ]
    return [*parts, *_left_out(summary)]


def _networks(summary: Mapping) -> list[str]:
    """The networks that are taken as one, such as seeds; nothing for a single one."""
    if "networks" not in summary:
        return []
    stages = summary["networks"]
    keys = [(stage, metric) for stage in own_stages(stages) for metric in NOISE_METRICS]
    names = list(stages["raw"]["interclass_noise"]["networks"])
    rows = [(name, *(plain(stages[stage][metric]["networks"][name]) for stage, metric in keys)) for name in names]
    rows.append(("standard deviation", *(plain(stages[stage][metric]["deviation"]) for stage, metric in keys)))
    header = ("network", *(f"{stage} {METRIC_WORDS[metric]}" for stage, metric in keys))
    words = (
        f"{len(names)} networks are taken as one: the queries of all count alike. Intervals and tests speak of images "
    )
    words += "seen by these networks; how far others of their kind would differ, the standard deviation tells."
    return ["<h2>The networks</h2>", f"<p>{words}</p>", table_html("Macro means of each.", header, rows)]


def _in_words(summary: Mapping) -> str:
    stages = summary["stages"]
    if stages["raw"]["interclass_noise"]["mean"] is None:
        return "No class has enough cells in enough images for a macro mean."
    sentences = [
        f"Raw attention puts {percent(stages['raw']['interclass_noise']['mean'])} of its mass on other classes, "
        f"{stages['raw']['interclass_noise']['times_chance']:.2f} times what chance gets."
    ]
    last = "rectified" if "rectified" in stages else "raw"
    for pair, words in (("rectified - raw", "Rectifying"), (f"retained - {last}", "Retention")):
        changes = [
            f"{METRIC_WORDS[metric]} by {difference(summary['differences'][pair][metric])}"
            for metric in ("interclass_noise", "hollow_fraction")
            if summary["differences"].get(pair, {}).get(metric, {}).get("mean") is not None
        ]
        if changes:
            sentences.append(f"{words} changes {' and '.join(changes)}.")
    sentences.append(
        f"Query dependence {plain(summary['query_dependence'])}, {plain(summary['effective_keys'])} effective keys "
        f"(median), {plain(summary['distinct_argmax_keys'])} distinct argmax keys an image."
    )
    return " ".join(sentences)


def _stage_table(summary: Mapping, stages: Sequence[str], caption: str) -> str:
    metrics = [metric for metric in HEADLINE if summary["stages"]["raw"][metric]["micro"] is not None]
    header = (
        "stage",
        *(METRIC_WORDS[metric] for metric in metrics),
        "× chance",
        "micro interclass noise",
        "emptied rows",
    )
    rows = []
    for stage in stages:
        block = summary["stages"][stage]
        interclass = block["interclass_noise"]
        rows.append(
            (
                stage,
                *(with_interval(block[metric]) for metric in metrics),
                with_interval(times_chance_figure(interclass)),
                plain(interclass["micro"]),
                f"{summary['emptied'][stage]:,}",
            )
        )
    return table_html(caption, header, rows)


def _groups(summary: Mapping, charts: Mapping[str, str]) -> list[str]:
    """The figures of each group; nothing where images have none."""
    groups = summary["groups"]
    if not groups:
        return []
    stages = own_stages(summary["stages"])
    rows = [
        (
            name,
            f"{block['images']:,}",
            *(with_interval(block["stages"][stage]["interclass_noise"]) for stage in stages),
            with_interval(times_chance_figure(block["stages"]["raw"]["interclass_noise"])),
            *(with_interval(block["stages"][stage]["hollow_fraction"]) for stage in stages),
        )
        for name, block in list(groups.items())[:MOST_GROUP_ROWS]
    ]
    header = ("group", "images", *(f"{stage} noise" for stage in stages), "raw × chance")
    header += tuple(f"{stage} hollow" for stage in stages)
    words = (
        f"{number_words(len(groups), 'group', 'groups')}, each with the figures that a report on it alone would have."
    )
    if len(groups) > MOST_GROUP_ROWS:
        words += f" The first {MOST_GROUP_ROWS}; per_group.csv has all."
    parts = ["<h2>By group</h2>", table_html(words, header, rows)]
    if "groups" in charts:
        parts.append(
            figure_html(
                charts["groups"],
                "The groups side by side, each with the 95 % intervals of its own images, if they are enough.",
            )
        )
    return parts


def _split_table(summary: Mapping) -> str:
    stages, rows = own_stages(summary["stages"]), []
    for split, words in SPLIT_DEFINITIONS.items():
        entries = [summary["stages"][stage]["interclass_noise"][split] for stage in stages]
        if any(entry["mean"] is not None for entry in entries):
            rows.append((words, *map(with_interval, entries), plain(entries[0]["chance"])))
    return table_html("Interclass noise of some of the queries.", ("queries", *stages, "chance"), rows)


def _left_out(summary: Mapping) -> list[str]:
    lines = [
        f"{METRIC_WORDS[metric]} is undefined for {number_words(count, 'query', 'queries')}."
        for metric, count in summary["left_out"].items()
        if count
    ]
    emptied = [f"{stage} {count:,}" for stage, count in summary["emptied"].items() if count]
    if emptied:
        lines.append(f"Emptied rows: {', '.join(emptied)}.")
    limits = summary["limits"]
    if summary["classes_left_out"]:
        names = ", ".join(f"{name} ({count})" for name, count in summary["classes_left_out"].items())
        lines.append(
            f"Classes that are in fewer than {limits['min_images']} images with {limits['min_cells']} cells or more "
            f"stay out of the macro means: {names}."
        )
    if summary["detection"]["sampled"]:
        lines.append("AUC and average precision rest on a seeded sample of the queries, all others on every query.")
    if not summary["detection"]["queries"]:
        lines.append("AUC and average precision were not measured.")
    if summary["images_of_one_class"]:
        lines.append(
            f"No interclass noise, since they show one class only: {images_words(summary['images_of_one_class'])}."
        )
    lines = [line[0].upper() + line[1:] for line in lines]
    lines += [f"{name} was skipped: {reason}." for name, reason in summary["images_skipped"].items()]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return ["<h2>What was left out</h2>", f"<ul>{items}</ul>" if lines else "<p>Nothing.</p>"]


def _definitions(summary: Mapping) -> list[str]:
    entries = "".join(f"<dt>{escape(term)}</dt><dd>{escape(words)}</dd>" for term, words in REPORT_DEFINITIONS.items())
    limits = summary["limits"]
    return [
        "<h2>Definitions</h2>",
        f"<p>{OWN_DEFINITIONS}</p>",
        f"<dl>{entries}</dl>",
        f'<p class="soft">A class counts in an image where it has at least {limits["min_cells"]} cells, and in the '
        f"macro mean with at least {images_words(limits['min_images'])} of that kind. The "
        "stages are compared on the queries that are valid in all of them, a control on those that are valid in "
        "itself as well.</p>",
    ]
