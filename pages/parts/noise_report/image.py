"""The Noise report inside one image: the noise map, the worst queries, and how the queries spread."""

import numpy as np
import streamlit as st

from analysis.capture import Capture
from analysis.charts import noise as charts
from analysis.lens import image_id, map_options, noise_map
from analysis.maps import stage_rows
from analysis.measure import ImageReport, worst_queries
from analysis.options import own_stages
from analysis.words import METRIC_WORDS, STAGE_WORDS
from pages.parts.app.session import ask_for_view
from pages.parts.app.words import as_clause, literal, said_container
from pages.parts.noise_report import entries
from pages.parts.noise_report.choices import PAINTED
from pages.parts.noise_report.work import Work, image_of
from pages.parts.subjects.captures import PinnedView

WORST = 8

map_component = st.components.v2.component("dnl_noise_map", html=noise_map.HTML, css=noise_map.CSS, js=noise_map.SCRIPT)


def show_image(work: Work, name: str) -> None:
    """The section on one image of the job, as the checkpoint `name` sees it."""
    st.subheader("Where in the image?")
    choices = st.container(horizontal=True)
    with choices:
        index = _choose_image(work, name)
    try:
        with st.spinner("Painting the noise map …"):
            capture, report = image_of(work.job, name, index)
    except ValueError as error:  # the image or the checkpoint has gone since it was measured
        st.error(f"The image cannot be shown: {as_clause(error)}.")
        return
    stages = list(own_stages(report.stages))
    if st.session_state.get(entries.MAP_STAGE) not in stages:
        st.session_state[entries.MAP_STAGE] = stages[0]  # of a network that has other stages
    with choices:
        stage = _choose("Stage", stages, STAGE_WORDS, key=entries.MAP_STAGE)
        metric = _choose("Metric", [*PAINTED], METRIC_WORDS, key=entries.MAP_METRIC)
    seen, worst = st.columns([3, 2], gap="large")
    with seen:
        st.caption(f"{literal(capture.name)}: each cell is a query, bright cells are the high ones.")
        words, highest = METRIC_WORDS[metric], 1.0 if metric in charts.SHARES else None
        picked = map_component(
            key="noise map",
            data=noise_map.noise_map_data(capture, report, stage, metric, words=words, highest=highest),
            on_picked_change=lambda: None,
        ).picked
    with worst:
        _show_worst(work, name, index, capture, report, stage)
    st.markdown(f"**How the queries spread: {words}**")
    st.caption("The share of this image's queries at each value: a long tail is a few bad queries, a shift is all.")
    values = {stage: getattr(report.stages[stage], metric) for stage in stages}
    if any(np.isfinite(array).any() for array in values.values()):
        st.plotly_chart(charts.distribution(values, metric), key="distribution", config={"displayModeBar": False})
    else:
        st.info("No query of this image has a value.")
    if picked:
        open_in_explorer(work, name, index, capture, (int(picked[0]), int(picked[1])))


def _choose(label: str, options: list[str], words: dict[str, str], *, key: str) -> str:
    return st.selectbox(label, options, format_func=words.get, key=key, persist_state="session", width="stretch")


def _choose_image(work: Work, name: str) -> int:
    finished = [index for (of, index) in work.records if of == name] or [0]
    if not work.several:
        return finished[0]
    return st.selectbox(
        "Image",
        finished,
        format_func=lambda index: work.records[name, index].name,
        key=f"noise shown image {name}",
        width="stretch",
    )


def _show_worst(work: Work, name: str, index: int, capture: Capture, report: ImageReport, stage: str) -> None:
    st.markdown(f"**The noisiest queries, {STAGE_WORDS[stage]}**")
    cells = worst_queries(report, stage, count=WORST)
    if not cells.size:
        st.info("No query of this image has interclass noise.")
        return
    st.caption("Own class → the other class that takes most: interclass noise. A click opens the Explorer.")
    takers = strongest_takers(work, capture, report, stage, cells)
    metrics = report.stages[stage]
    for rank, (cell, taker) in enumerate(zip(cells, takers, strict=True), 1):
        y, x = capture.grid.pixel_at(*divmod(int(cell), capture.width))
        noise, chance = metrics.interclass_noise[cell], metrics.chance[cell]
        own = _class_name(capture, report.labels.flat[cell])
        words = f"{rank}\\. **{own}** → {_class_name(capture, taker)}: {noise:.2f} ({noise / chance:.2f} × chance)"
        with said_container(words, f"noise worst {rank} words"):
            chosen = st.button(
                words,
                key=f"noise worst {rank}",
                help=f"Pin the pixel in row {y}, column {x} in the Explorer",
                type="tertiary",
                icon=":material/open_in_new:",
                wrap=True,
            )
        if chosen:
            open_in_explorer(work, name, index, capture, (y, x))


def strongest_takers(work: Work, capture: Capture, report: ImageReport, stage: str, cells: np.ndarray) -> np.ndarray:
    """For each query the other class that gets most of its attention: class indices."""
    rows = getattr(stage_rows(capture, cells, map_options(capture, work.job.choices)), stage)
    key_labels = report.labels if report.key_labels is None else report.key_labels
    classes = np.arange(report.num_classes)
    mass = rows.reshape(len(cells), -1) @ (key_labels.ravel()[:, None] == classes)  # M×classes
    mass[np.arange(len(cells)), report.labels.flat[cells]] = -1
    return mass.argmax(axis=1)


def _class_name(capture: Capture, label: int) -> str:
    return literal(capture.label_set.class_names[label])


def open_in_explorer(work: Work, name: str, index: int, capture: Capture, pixel: tuple[int, int]) -> None:
    """Go to the Explorer: the same image, checkpoint, gate and LR, with this pixel pinned."""
    ask_for_view(PinnedView(work.job.places[index], name, image_id(capture), pixel, work.job.choices))
    st.switch_page("pages/explorer.py")
