"""The report on attention files: noise by layer and head as summary, tables, charts and one page."""

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path

from analysis.measure import HEAD_METRICS, heads_summary, least_images, measured_images, stages_of, unlike_classes
from analysis.report.attention import AttentionFile, MeasuredFiles, notes_of_files
from analysis.report.charts import chart_names, save_chart
from analysis.report.head_charts import class_heads_chart, head_chart, layer_chart
from analysis.report.head_tables import blocks, class_table, head_table, image_table
from analysis.report.html import (
    figure_html,
    images_words,
    number_words,
    plain,
    table_html,
    times_chance_figure,
    whole_page,
    with_interval,
)
from analysis.report.measuring import one_class_only
from analysis.report.output import put_in_place
from analysis.words import (
    CONTROL_WORDS,
    METRIC_WORDS,
    OWN_DEFINITIONS,
    PREDICTION_WARNING,
    REPORT_DEFINITIONS,
    interval_sentences,
)
from dnl.files import write_atomically, write_json

# Of the page; the CSV has all.
MOST_TABLE_ROWS = 400


def write_heads_report(
    out: Path,
    files: Sequence[AttentionFile],
    measured: MeasuredFiles,
    provenance: Mapping,
    *,
    min_images: int | None = None,
) -> dict:
    """Write the report, in place of an earlier one in `out`, and return its summary.

    provenance: what else the figures rest on. min_images: that a class needs, by default `least_images`. Raises
    ReportError where no head has noise to measure; on an error an earlier report is left as it was.
    """
    first = next(iter(measured.records.values()))
    if all(len(record.classes) < 2 for record in first):
        raise one_class_only(len(first))
    least = least_images(len(first)) if min_images is None else min_images
    about = {
        **provenance,
        "files": [{"name": file.name, "sha256": measured.hashes[file.path]} for file in files],
        "images": measured_images(first),
        "notes": notes_of_files(measured.notes.items()),
    }
    summary = {
        "provenance": about,
        **heads_summary(measured.records, measured.class_names, min_images=least),
        "images_skipped": {record.name: record.reason for record in measured.skipped},
    }
    return put_in_place(out, lambda made: _write(made, summary, measured))


# --- files -----------------------------------------------------------------------------------------------------------


def _write(out: Path, summary: dict, measured: MeasuredFiles) -> dict:
    write_json(out / "summary.json", summary)
    tables = {
        "per_head.csv": head_table(summary),
        "per_class.csv": class_table(summary),
        "per_image.csv": image_table(measured.records, measured.skipped),
    }
    for name, text in tables.items():
        write_atomically(out / name, partial(Path.write_text, data=text, encoding="utf-8"))
    layers = chart_names(summary["layers"], "layer", first=1)
    classes = chart_names(measured.class_names, "class")
    (out / "charts").mkdir()
    charts: dict[str, str] = {}
    for stage in stages_of(summary):
        drawings = {
            f"heads_{stage}": partial(head_chart, summary, stage, layers.texts),
            f"layers_{stage}": partial(layer_chart, summary, stage, layers.texts),
            f"classes_{stage}": partial(class_heads_chart, summary, stage, layers.texts, classes.texts),
        }
        names = [*layers.texts.values(), *classes.texts.values()]
        charts |= {name: save_chart(out / "charts" / name, draw, names) for name, draw in drawings.items()}
    page = _page(summary, charts, layers.key | classes.key)
    write_atomically(out / "report.html", lambda file: file.write_text(page, encoding="utf-8"))
    return summary


# --- the page --------------------------------------------------------------------------------------------------------


def _page(summary: Mapping, charts: Mapping[str, str], key: Mapping[str, str]) -> str:
    parts = ["<h1>Attention noise by layer and head</h1>", *_lead(summary), *_notes(summary)]
    for stage in stages_of(summary):
        parts += [
            f"<h2>{stage.capitalize()} attention</h2>",
            figure_html(charts[f"heads_{stage}"], "Interclass noise over chance: below 1 the head knows the class."),
            figure_html(charts[f"layers_{stage}"], "The same along the layers, with 95 % intervals where there are."),
            figure_html(charts[f"classes_{stage}"], "The same by the class of the query."),
        ]
    parts += [
        "<h2>All heads</h2>",
        _head_rows(summary),
        "<h2>Controls</h2>",
        _control_rows(summary),
        "<ul>" + "".join(f"<li><b>{name}</b>: {escape(CONTROL_WORDS[name])}</li>" for name in _controls(summary)),
        "</ul>",
        *_left_out(summary),
    ]
    if key:
        entries = "".join(f"<dt>{escape(number)}</dt><dd>{escape(name)}</dd>" for number, name in key.items())
        parts += ["<h2>Names in the charts</h2>", f"<dl>{entries}</dl>"]
    words = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in REPORT_DEFINITIONS.items())
    rests_on = "".join(
        f"<dt>{escape(file['name'])}</dt><dd><code>SHA-256 {file['sha256']}</code></dd>"
        for file in summary["provenance"]["files"]
    )
    parts += ["<h2>Definitions</h2>", f"<p>{OWN_DEFINITIONS}</p>", f"<dl>{words}</dl>"]
    parts += ["<h2>What this rests on</h2>", f"<dl>{rests_on}</dl>"]
    return whole_page("Attention noise by layer and head", parts)


def _lead(summary: Mapping) -> list[str]:
    heads = sum(len(layer["heads"]) for layer in summary["layers"].values())
    layers = number_words(len(summary["layers"]), "layer", "layers")
    counts = f"{images_words(summary['images'])}, {layers}, {number_words(heads, 'head', 'heads')}"
    parts = [f"<p>{counts}. Labels: {summary['label_source']}. {OWN_DEFINITIONS}</p>"]
    if "prediction" in summary["label_source"]:
        parts.append(f'<p class="mark"><strong>{PREDICTION_WARNING}</strong></p>')
    if summary["lowest"] is None:
        return [*parts, "<p>No class has enough cells in enough images for a macro mean.</p>"]
    sentences = extremes_sentence(summary), unlike_classes(summary), interval_sentences(summary)
    return [*parts, *(f"<p>{escape(sentence)}</p>" for sentence in sentences if sentence)]


def _notes(summary: Mapping) -> list[str]:
    notes = summary["provenance"]["notes"]
    return ["<ul>", *(f"<li>{escape(note)}</li>" for note in notes), "</ul>"] if notes else []


def extremes_sentence(summary: Mapping) -> str:
    """Which heads have the least and the most raw noise; "" where none has any."""
    low, high = summary["lowest"], summary["highest"]
    if low is None:
        return ""

    def words(head: Mapping) -> str:
        place = f"head {head['head']} of {head['layer']}" if head["layer"] else f"head {head['head']}"
        return f"{place} ({head['times_chance']:.2f} × chance)"

    if low == high:
        return f"One head: {words(low)}."
    return f"Least interclass noise: {words(low)}; most: {words(high)}. Chance is 1."


def _head_rows(summary: Mapping) -> str:
    found = [block for block in blocks(summary) if block[4] is not None and block[2] in stages_of(summary)]
    header = ("head", "stage", *(METRIC_WORDS[metric] for metric in HEAD_METRICS), "× chance", "query dependence")
    rows = [
        _row(f"{layer} · {name}" if layer else f"head {name}", stage, figures, head)
        for layer, name, stage, figures, head in found
    ]
    words = "Macro means, below them their intervals."
    if len(rows) > MOST_TABLE_ROWS:
        words += f" The first {MOST_TABLE_ROWS}; per_head.csv has all."
    return table_html(words, header, rows[:MOST_TABLE_ROWS])


def _row(name: str, stage: str, figures: Mapping, head: Mapping | None) -> tuple[str, ...]:
    values = [with_interval(figures[metric]) for metric in HEAD_METRICS]
    times = with_interval(times_chance_figure(figures["interclass_noise"]))
    return (name, stage, *values, times, plain(head["query_dependence"]) if head and stage == "raw" else "")


def _control_rows(summary: Mapping) -> str:
    own = stages_of(summary)
    header = ("head", "control", *(METRIC_WORDS[metric] for metric in HEAD_METRICS), "× chance")
    rows = [
        _row(f"{layer} · {'all heads' if name is None else name}", stage, figures, head)[:-1]
        for layer, name, stage, figures, head in blocks(summary)
        if stage not in own
    ]
    return table_html("What other maps get on the same labels.", header, rows[:MOST_TABLE_ROWS])


def _controls(summary: Mapping) -> list[str]:
    own = stages_of(summary)
    return list(dict.fromkeys(stage for _, _, stage, _, _ in blocks(summary) if stage not in own))


def _left_out(summary: Mapping) -> list[str]:
    lines = [f"Emptied rows, which have no noise: {words}." for words in _emptied(summary)]
    if summary["classes_left_out"]:
        limits = summary["limits"]
        names = ", ".join(f"{name} ({count})" for name, count in summary["classes_left_out"].items())
        lines.append(
            f"Classes that are in fewer than {images_words(limits['min_images'])} with {limits['min_cells']} cells or "
            f"more stay out of the macro means: {names}."
        )
    lines += [f"{name} was skipped: {reason}." for name, reason in summary["images_skipped"].items()]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return ["<h2>What was left out</h2>", f"<ul>{items}</ul>"] if lines else []


def _emptied(summary: Mapping) -> list[str]:
    """For each head with emptied rows its name, and how many there are in each stage."""
    found = []
    for layer, block in summary["layers"].items():
        for number, head in block["heads"].items():
            counts = ", ".join(f"{stage} {count:,}" for stage, count in head["emptied"].items() if count)
            if counts:
                place = f"head {number} of {layer}" if layer else f"head {number}"
                found.append(f"{place}: {counts} of {number_words(head['queries'], 'query', 'queries')}")
    return found
