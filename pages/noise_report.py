"""The Noise report: how noisy a model's attention is, by stage, class and place in the image."""

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis.charts import noise as charts
from analysis.measure import ImageRecord, classes_of_few_cells
from analysis.options import CONTROLS, STAGES
from analysis.words import (
    DEFINITIONS,
    METRIC_NOTES,
    METRIC_WORDS,
    MORE_DEFINITIONS,
    STAGE_WORDS,
    headline,
    interval_sentences,
)
from pages.parts.app.downloads import offer_file
from pages.parts.app.entry import require_app
from pages.parts.app.links import offer_link, opened_link, say_ignored, write_link
from pages.parts.app.words import literal
from pages.parts.noise_report import entries
from pages.parts.noise_report.choices import Job, choose_job
from pages.parts.noise_report.differences import show_comparison, show_tests
from pages.parts.noise_report.heads import CHECKPOINTS, choose_kind, show_heads_report
from pages.parts.noise_report.image import show_image
from pages.parts.noise_report.link import follow, view_parameters
from pages.parts.noise_report.paper import offer_tables
from pages.parts.noise_report.work import Work, carry_on, class_csv, first_records, summary_json, summary_of
from pages.parts.subjects.models import model_with_attention

DIFFERENCES = ("interclass_noise", "intraclass_noise", "hollow_fraction", "auc", "average_precision")
CONFIG = {"displaylogo": False, "displayModeBar": False}


def chart(figure: object, key: str, words: str) -> None:
    """A chart with the line that explains it."""
    st.caption(words)
    st.plotly_chart(figure, key=key, config=CONFIG, alt=words)


def choose(label: str, options: Sequence[str], words: dict[str, str], *, key: str) -> str:
    """A selectbox whose choice is the session's entry `key`: the first one where that has nothing of them."""
    if st.session_state.get(key) not in options:
        st.session_state[key] = options[0]  # of a network that has other stages
    return st.selectbox(label, options, format_func=words.get, key=key, persist_state="session")


def current_work(job: Job | None, asked: bool) -> Work | None:
    """The job in hand: a new one where Measure was pressed, or on arrival, if it is one image."""
    work = st.session_state.get("noise work")
    arriving = work is None and job is not None and len(job.places) == 1
    if job is not None and (asked or arriving) and (work is None or work.job != job or work.cancelled):
        kept = work if work is not None and work.job == job else started(job)  # a cancelled job is taken up again
        kept.cancelled = False
        work = st.session_state["noise work"] = kept
    return work


def started(job: Job) -> Work:
    """A job's work, with nothing measured yet. Raises CheckpointError."""
    models = {name: model_with_attention(name) for name in job.models}
    return Work(
        job,
        {name: model.network.label_set.class_names for name, model in models.items()},
        {name: model.sha256 for name, model in models.items()},
    )


def progress(work: Work) -> None:
    """Measure image by image under a progress bar; a click on Cancel ends it and keeps what is finished."""
    total = len(work.records) + len(work.failures) + len(work.missing())
    row = st.empty()
    with row.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, width="stretch")
        st.button("Cancel", key="noise cancel", on_click=lambda: setattr(work, "cancelled", True))

    def tell(finished: int) -> None:
        bar.progress(finished / total, f"{finished} of {total} measured")

    tell(total - len(work.missing()))
    carry_on(work, tell)
    row.empty()


def records_by_model(work: Work) -> dict[str, list[ImageRecord]]:
    """The finished records of each checkpoint; those of one image come first without AUC and AP."""
    found = work.records if work.several else first_records(work) | work.records
    in_order = sorted(found.items(), key=lambda item: item[0][1])
    return {
        name: records for name in work.job.models if (records := [record for (of, _), record in in_order if of == name])
    }


def summarised(work: Work, name: str, records: list[ImageRecord]) -> dict:
    """The checkpoint's summary, computed once for each state of the work."""
    key = name, len(records), sum(record.detection_queries for record in records)
    if key not in work.summaries:
        work.summaries[key] = summary_of(records, work.class_names[name])
    return work.summaries[key]


# --- sections --------------------------------------------------------------------------------------------------------


def show_warnings(
    work: Work, summaries: dict[str, dict], records: dict[str, list[ImageRecord]], notices: DeltaGenerator
) -> None:
    """What could not be measured, and what flatters or limits the figures."""
    for (name, index), sentence in work.failures.items():
        notices.error(f"Image {index + 1} with {literal(name)}: {sentence}")
    if work.cancelled and work.missing():
        done = len(work.records) + len(work.failures)
        notices.info(f"Cancelled: {done} of {done + len(work.missing())} were measured. Press Measure to go on.")
    if any("prediction" in summary["label_source"] for summary in summaries.values()):
        notices.warning(
            "Measured against the model's own prediction, not against ground truth: this flatters the model, since a "
            "prediction agrees with itself.",
            icon=":material/warning:",
        )
    lone = [literal(record.name) for record in next(iter(records.values()), []) if len(record.classes) < 2]
    if lone:
        notices.info(
            f"Not more than one labelled class in {', '.join(lone)}: interclass noise needs two, so there is none."
        )


def show_overview(summaries: dict[str, dict], stages: list[str]) -> None:
    """The three kinds of noise, stage by stage."""
    metrics = list(METRIC_NOTES)
    for column, metric in zip(st.columns(len(metrics)), metrics, strict=True):
        with column:
            st.markdown(f"**{METRIC_WORDS[metric].capitalize()}**")
            chart(charts.stage_bars(summaries, metric, stages), f"overview {metric}", METRIC_NOTES[metric])


def show_classes(summary: dict, stages: list[str], records: Sequence[ImageRecord], class_names: Sequence[str]) -> None:
    """Noise by class, and where the attention of each class goes."""
    st.subheader("Between which classes?")
    bars, matrix = st.columns(2, gap="large")
    with bars:
        metric = choose("Metric by class", _measured_metrics(summary), METRIC_WORDS, key=entries.CLASS_METRIC)
        if charts.classes_with_figures(summary, metric, stages):
            words = "One group of bars a class; bars without an interval rest on too few images."
            chart(charts.class_bars(summary, metric, stages), "classes", words)
        else:
            st.info("No class has enough cells for this metric.")
        if left_out := {name: count for name, count in summary["classes_left_out"].items() if count}:
            least = summary["limits"]["min_images"]
            names = ", ".join(f"{literal(name)} ({count})" for name, count in left_out.items())
            st.caption(f"In fewer than {least} images, so not in the means: {names}.")
        least_cells = summary["limits"]["min_cells"]
        if few := classes_of_few_cells(records, class_names, least_cells):
            names = ", ".join(map(literal, few))
            st.caption(f"Fewer than {least_cells} labelled cells in every image, so without bars: {names}.")
    with matrix:
        stage = choose("Leakage in stage", list(summary["leakage"]), STAGE_WORDS, key=entries.LEAKAGE_STAGE)
        if any(row is not None for row in summary["leakage"][stage]):
            words = "Each row says where one class's attention goes; the diagonal is attention that stays at home."
            chart(charts.leakage_heatmap(summary, stage, class_names), "leakage", words)
        else:
            st.info("No query has both its own class and another one to attend to.")


def show_steps(summary: dict, stages: list[str]) -> None:
    """What GR and LR change, what they leave, and which queries are hard."""
    st.subheader("What does each step change?")
    measured = _measured_metrics(summary)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Stage differences**")
        words = "Later minus earlier stage, paired by image. Left of 0 is less noise; for AUC and AP, right is better."
        shown = [metric for metric in DIFFERENCES if metric in measured]
        if summary["differences"]:
            chart(charts.stage_differences(summary, shown), "differences", words)
            show_tests(summary["differences"], "stage tests")
        else:
            st.info("There is neither GR nor LR here, so there is one stage alone and no difference.")
        st.markdown("**Kept mass and emptied rows**")
        words = "How much attention is left on labelled cells; a row that a gate empties has no noise to measure."
        chart(charts.kept_mass_bars(summary, stages), "kept mass", words)
    with right:
        st.markdown("**Hollows by threshold**")
        words = "The share of a class that gets less than τ times the class's mean attention."
        chart(charts.hollow_curve(summary, stages), "hollow curve", words)
        st.markdown("**Easy and hard queries**")
        metric = choose("Metric by kind of query", _measured_metrics(summary), METRIC_WORDS, key=entries.SPLIT_METRIC)
        words = "Queries at class boundaries against those inside; and whether GR's class prediction is right."
        chart(charts.split_bars(summary, metric, stages), "splits", words)


def show_table(summary: dict, stages: list[str]) -> None:
    """All figures as a table, and what they rest on."""
    st.subheader("All figures")
    st.caption("Means over images, then over classes, with 95 % intervals in brackets; micro: over all queries.")
    st.dataframe(charts.figure_table(summary, stages), hide_index=True, height="content", key="all figures")
    detection = summary["detection"]
    if detection["queries"]:
        exact = "a seeded sample of the" if detection["sampled"] else "all"
        st.caption(f"AUC and average precision over {exact} queries ({detection['queries']:,}).")
    images = "1 image" if summary["images"] == 1 else f"{summary['images']} images"
    facts = f"{summary['queries']:,} queries in {images}, against {summary['label_source']}. "
    if summary["effective_keys"] is not None:
        facts += f"Median effective keys of the raw rows: {summary['effective_keys']:.0f}. "
    if summary["query_dependence"] is not None:
        facts += f"Query dependence {summary['query_dependence']:.2f} (0: every query gets the same map). "
    facts += f"{summary['distinct_argmax_keys']:.0f} distinct strongest keys an image."
    st.caption(facts)


def show_groups(summary: dict, stages: list[str]) -> None:
    """The figures of each group; nothing where images have none."""
    if not summary["groups"]:
        return
    st.subheader("In which group?")
    number = len(summary["groups"])
    words = "one group (a drive)" if number == 1 else f"{number} groups (drives)"
    st.caption(f"The images are of {words}. Each has the figures here that a report on it alone would have.")
    st.dataframe(charts.group_table(summary, stages), hide_index=True, height="content", key="groups")


def show_downloads(work: Work, name: str, summary: dict, records: list[ImageRecord]) -> None:
    """The figures as files."""
    with st.container(horizontal=True):
        offer_file(
            "Summary (JSON)",
            f"noise-{name}.json",
            lambda: summary_json(work, name, summary, records),
            key="noise json",
        )
        offer_file(
            "Every image and class (CSV)",
            f"noise-{name}.csv",
            lambda: class_csv(work, name, records),
            key="noise csv",
        )


def _measured_metrics(summary: dict) -> list[str]:
    """The metrics that some stage has a mean of."""
    stages = summary["stages"].values()
    return [name for name in METRIC_WORDS if any(figures[name]["mean"] is not None for figures in stages)]


# --- the page --------------------------------------------------------------------------------------------------------


def choose_stages(summaries: dict[str, dict]) -> list[str]:
    """The stages and controls to show, in their own order."""
    present = [stage for stage in (*STAGES, *CONTROLS) if any(stage in s["stages"] for s in summaries.values())]
    st.session_state.setdefault(entries.SHOWN_STAGES, list(STAGES))
    chosen = st.pills(
        "Stages and controls",
        (*STAGES, *CONTROLS),
        selection_mode="multi",
        format_func=STAGE_WORDS.get,
        key=entries.SHOWN_STAGES,
        persist_state="session",
    )
    if missing := [STAGE_WORDS[stage] for stage in chosen if stage not in present]:
        st.caption(
            f"Not there: {', '.join(missing)}. Rectified takes GR, retained and its controls take LR, and the oracle "
            "takes ground truth."
        )
    return [stage for stage in present if stage in chosen] or ["raw"]


def choose_detail(names: list[str]) -> str:
    """The checkpoint that the sections are about."""
    if len(names) == 1:
        return names[0]
    if st.session_state.get(entries.DETAIL) not in names:
        st.session_state[entries.DETAIL] = names[0]
    return st.segmented_control(
        "Checkpoint below", names, required=True, format_func=literal, key=entries.DETAIL, persist_state="session"
    )


def follow_link(notices: DeltaGenerator) -> None:
    """Choose what an opened address asks for, and measure it anew."""
    parameters = opened_link()
    if parameters is not None:
        st.session_state["noise ignored"] = follow(parameters)
        st.session_state.pop("noise work", None)
        write_link(parameters)  # it is followed once, though the page may run again before it writes its own
    say_ignored(notices, st.session_state.get("noise ignored", []))


def show_page() -> None:
    """The page; it writes its address last, when every widget has its value."""
    st.title("How noisy is the attention?")
    notices = st.container()
    follow_link(notices)
    job = show_report(notices)
    st.session_state.pop("noise ignored", None)  # said until the report is complete, which takes a second run
    if job is not None:
        parameters = view_parameters(job.models, job.places)
        write_link(parameters)
        offer_link("It opens these images, checkpoints and choices, and holds none of your own files.", parameters)


def show_report(notices: DeltaGenerator) -> Job | None:
    """Everything on the page; returns what is chosen in the sidebar."""
    with st.sidebar:
        kind = choose_kind()
        start = st.container()
    if kind != CHECKPOINTS:
        show_heads_report(kind, start, notices)
        return None
    with st.sidebar:
        job = choose_job(notices)
        asked = start.button("Measure", type="primary", width="stretch", disabled=job is None, key="noise measure")
    work = current_work(job, asked)
    if work is None:
        if job is not None:
            st.info(f"Press Measure to measure {len(job.places)} images.")
        return job
    if work.several and work.missing() and not work.cancelled:
        progress(work)
    with st.spinner("Measuring every query …"):
        records = records_by_model(work)
    if job is not None and job != work.job:
        notices.info("The choices have changed: press Measure to measure them. Below are the figures from before.")
    summaries = {name: summarised(work, name, records[name]) for name in records}
    show_warnings(work, summaries, records, notices)
    if not summaries:
        return job
    for name, summary in summaries.items():
        st.markdown(f"**{literal(name)}**: {headline(summary)}" if len(summaries) > 1 else headline(summary))
    st.caption(literal(interval_sentences(next(iter(summaries.values())))))
    chosen = choose_stages(summaries)
    show_overview(summaries, chosen)
    with st.popover("What the figures mean"):
        st.markdown(DEFINITIONS + MORE_DEFINITIONS)
    show_comparison(work, records)
    name = choose_detail(list(summaries))
    class_names = work.class_names[name]
    show_image(work, name)
    stages = [stage for stage in chosen if stage in summaries[name]["stages"]] or ["raw"]
    show_classes(summaries[name], stages, records[name], class_names)
    show_steps(summaries[name], stages)
    show_groups(summaries[name], stages)
    show_table(summaries[name], stages)
    if work.several or not work.missing():
        show_downloads(work, name, summaries[name], records[name])
        offer_tables(work, summaries, records)
    else:
        with st.spinner("Ranking each query's keys (AUC, average precision) …"):
            carry_on(work)
        st.rerun()
    return job


require_app("noise_report")
show_page()
