"""The Explorer: one image, the live lens, the pinned pixel and its numbers."""

import io
import math

import numpy as np
import streamlit as st

from analysis.capture import Capture
from analysis.geometry import pixel_to_cell
from analysis.health import attention_health
from analysis.lens import CSS, HTML, SCRIPT, asking_for, chosen_pixel, image_id, row_options
from analysis.maps import attention_rows
from analysis.noise import QueryMetrics, query_metrics
from pages.attention_files import choose_attention_file
from pages.entry import require_app
from pages.shared import (
    HEALTH_COLOURS,
    Model,
    captured,
    choose_model,
    choose_picture,
    choose_source,
    street_picture,
)
from pages.words import DEFINITIONS

FIGURES = {
    "interclass_noise": ("interclass noise", 3),
    "chance": ("chance", 3),
    "times_chance": ("interclass noise / chance", 2),
    "intraclass_noise": ("intraclass noise", 3),
    "hollow_fraction": ("hollow fraction", 3),
    "kept_mass": ("kept mass", 3),
    "effective_keys": ("effective keys", 1),
}
NO_CLASS = "no class"
ATTENTION_FILE = "Attention file"
STAGES = ("raw", "rectified", "retained")

lens = st.components.v2.component("dnl_lens", html=HTML, css=CSS, js=SCRIPT)


def noise_table(capture: Capture, pixel: tuple[int, int], options: dict) -> tuple[list[dict[str, str]], str]:
    """The figures of the pixel's cell in words, one row per figure and one column per stage; and its class's name."""
    labels = capture.cell_prediction if capture.cell_labels is None else capture.cell_labels
    row, column = pixel_to_cell(*pixel, capture.image.shape[:2], capture.cells)
    query = row * capture.width + column
    stages = attention_rows(capture, [query], **options)
    columns = {
        stage: stage_figures(query_metrics(getattr(stages, stage), labels, [query], ignore_index=capture.ignore_index))
        for stage in STAGES
    }
    table = [{"": words} | {stage: columns[stage][name] for stage in STAGES} for name, (words, _) in FIGURES.items()]
    label = int(labels[row, column])
    return table, NO_CLASS if label == capture.ignore_index else capture.label_set.class_names[label]


def stage_figures(metrics: QueryMetrics) -> dict[str, str]:
    """The figures of one query in one stage as text; a figure that is undefined says so."""
    values = {name: float(getattr(metrics, name)[0]) for name in FIGURES if name != "times_chance"}
    values["times_chance"] = values["interclass_noise"] / (values["chance"] or math.nan)
    missing = "emptied" if metrics.emptied[0] else "–"
    return {
        name: f"{values[name]:.{digits}f}" if math.isfinite(values[name]) else missing
        for name, (_, digits) in FIGURES.items()
    }


def figure_file(capture: Capture, pixel: tuple[int, int], options: dict, file_format: str) -> bytes:
    """The pinned pixel's figure as a PNG or PDF file."""
    from analysis.figures import attention_figure  # matplotlib's plotting takes a while: only when it is asked for

    row, column = pixel_to_cell(*pixel, capture.image.shape[:2], capture.cells)
    file = io.BytesIO()
    figure = attention_figure(capture, np.array([row * capture.width + column]), **options)
    figure.savefig(file, format=file_format, dpi=300)
    return file.getvalue()


def show_numbers(capture: Capture, pixel: tuple[int, int], options: dict) -> None:
    if capture.labels is None and capture.prediction is None:
        st.subheader("The pinned pixel")
        st.info(
            "There are maps but no noise figures: they need classes, so add `labels` (or a `prediction`) to the file.",
            icon=":material/info:",
        )
        return
    table, class_name = noise_table(capture, pixel, options)
    st.subheader(f"The pinned pixel: {class_name}")
    if capture.labels is None:
        st.warning(
            "There are no labels for this image: everything is measured against the model's own prediction, which "
            "flatters it.",
            icon=":material/info:",
        )
    st.table(table)
    if class_name == NO_CLASS:
        st.caption("This cell has no label, so it has no figures; pin another pixel to see some.")
    with st.popover("What the figures mean"):
        st.markdown(DEFINITIONS)


def show_downloads(capture: Capture, pixel: tuple[int, int], options: dict) -> None:
    with st.container(horizontal=True):
        for file_format, mime in (("png", "image/png"), ("pdf", "application/pdf")):
            st.download_button(
                f"Figure ({file_format.upper()})",
                data=lambda file_format=file_format: figure_file(capture, pixel, options, file_format),
                file_name=f"attention-{capture.name.replace(' ', '-').lower()}-{pixel[1]}-{pixel[0]}.{file_format}",
                mime=mime,
                key=f"figure-{file_format}",
                icon=":material/download:",
                on_click="ignore",
            )


def show_health(model: Model) -> None:
    health = attention_health(model.card.get("metrics", {}))
    st.subheader("Is this attention alive?")
    st.markdown(f":{HEALTH_COLOURS[health.state]}-badge[{health.state}] {health.sentence}")
    if health.facts:
        st.table([{"figure": name, "value": value} for name, value in health.facts], hide_header=True)


def show_health_of_file() -> None:
    st.subheader("Is this attention alive?")
    st.markdown(
        f":{HEALTH_COLOURS['unknown']}-badge[unknown] A file does not say what its attention is worth to its network: "
        "that takes running the network with and without it."
    )


def kept(name: str, reported):
    """What the lens last reported: a component's own state is lost on a change of page, the session's is not."""
    if reported is not None:
        st.session_state[f"lens {name}"] = reported
    return st.session_state.get(f"lens {name}")


def follow_link() -> None:
    """Take over what another page wants shown here: entries of the session, before their widgets are there."""
    for name, value in st.session_state.pop("explorer link", {}).items():
        st.session_state[name] = value


def show_page() -> None:
    follow_link()
    st.title("Where does one pixel look?")
    notices = st.container()  # not in the sidebar, which is folded away on a phone
    with st.sidebar:
        above = st.container()  # the model stands above the image, though a file needs none
        source = choose_source(ATTENTION_FILE)
        brought = choose_attention_file(notices) if source == ATTENTION_FILE else None
        if brought is not None:
            model = None
            above.caption("The file brings its own attention: no model is run.")
            capture, payload = brought
        else:
            with above:
                model = choose_model(notices)
            if model is None:
                st.stop()
            label_set = model.network.label_set
            first = source == ATTENTION_FILE
            picture = street_picture(0, label_set) if first else choose_picture(label_set, notices, source)
            capture, payload = captured(model, picture)
    wish = st.session_state.get("lens request")  # of another page, for one image
    if wish and wish["image"] == image_id(capture):
        payload = asking_for(payload, wish["request"])
    shown = lens(key="lens", data=payload, on_pins_change=lambda: None, on_choices_change=lambda: None)
    pixel = chosen_pixel(capture, kept("pins", shown.pins))
    options = row_options(capture, kept("choices", shown.choices))
    numbers, health = st.columns(2, gap="large")
    with numbers:
        show_numbers(capture, pixel, options)
        show_downloads(capture, pixel, options)
    with health:
        if model is None:
            show_health_of_file()
        else:
            show_health(model)


require_app()
show_page()
