"""The Noise report on attention files and the example network: noise by layer and head, as a map and a table."""

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis.capture import Layers, quietly
from analysis.charts import heads as charts
from analysis.measure import (
    Head,
    ImageRecord,
    MeasureOptions,
    head_records,
    heads_summary,
    least_images,
    measured_images,
    stages_of,
    unlike_classes,
)
from analysis.report import class_table, head_table, notes_of_files
from analysis.words import DEFINITIONS, STAGE_WORDS, interval_sentences
from dnl import __version__
from dnl.datasets import Streets
from pages.parts.app.downloads import offer_file
from pages.parts.app.session import give_way
from pages.parts.app.words import as_clause, literal
from pages.parts.noise_report import entries
from pages.parts.subjects.attention_files import OwnFile, choose_files, own_attention_files
from pages.parts.subjects.example import example_hash, example_layers
from pages.parts.subjects.places import street_name

CHECKPOINTS, FILES, EXAMPLE = "Checkpoints", "Attention files", "A vision transformer"
KINDS = (CHECKPOINTS, FILES, EXAMPLE)
FEW_NOTES = 3  # that are shown unfolded
CONFIG = {"displaylogo": False, "displayModeBar": False}
MAP_WORDS = "Below 1 a head looks at its query's class more than chance would; at 1 it does not know the class."


@dataclass(frozen=True)
class Image:
    """An image of whose attention there are layers. key: tells it, and how its labels are read, from all others.

    digest: SHA-256 of the file that the attention comes from. private: whether it is a user's own.
    """

    name: str
    key: Hashable
    digest: str
    open: Callable[[], Layers]
    private: bool


@dataclass(frozen=True)
class Measured:
    """The records of each head, one an image, and the classes' names; images: those that could be measured.

    notes: of each image, what has to be known of its file.
    """

    images: list[Image]
    records: dict[Head, list[ImageRecord]]
    class_names: tuple[str, ...]
    notes: list[tuple[str, ...]]


def choose_kind() -> str:
    """Whose attention is measured: one of KINDS."""
    st.session_state.setdefault(entries.KIND, CHECKPOINTS)
    return st.selectbox("Attention of", KINDS, key=entries.KIND, persist_state="session")


def show_heads_report(kind: str, sidebar: DeltaGenerator, notices: DeltaGenerator) -> None:
    """The whole report but its title. kind: FILES or EXAMPLE. sidebar: where images are chosen."""
    with sidebar:
        images = _choose_images(kind, notices)
    if not images:
        notices.info("Choose at least one attention file in the sidebar." if kind == FILES else "Choose a street.")
        return
    measured = _measured(images, notices)
    if measured is None:
        return
    least = least_images(len(measured.images))
    summary = heads_summary(measured.records, measured.class_names, min_images=least)
    _show(summary, measured, notices)


# --- what is measured ------------------------------------------------------------------------------------------------


def _choose_images(kind: str, notices: DeltaGenerator) -> list[Image]:
    if kind == EXAMPLE:
        scenes = range(len(Streets("gallery")))
        chosen = st.multiselect(
            "Streets",
            scenes,
            default=[0, 1, 2, 3],
            format_func=street_name,
            key=entries.EXAMPLE_SCENES,
            persist_state="session",
            help="It has learnt from other streets than these.",
        )
        return [_example(scene) for scene in sorted(chosen)]
    try:
        files = choose_files()
    except ValueError as error:
        notices.error(f"{as_clause(error)}.")
        return []
    if not files and (files := own_attention_files()):
        st.caption(f"Still in use: {', '.join(literal(file.name) for file in files)}")
    return [_own(file) for file in files]


def _example(scene: int) -> Image:
    digest = example_hash()
    return Image(street_name(scene), (digest, scene), digest, lambda: example_layers(scene), private=False)


def _own(file: OwnFile) -> Image:
    return Image(file.name, file.key, file.digest, lambda: file.layers, private=True)


def _records(
    key: Hashable, name: str, _image: Image
) -> tuple[dict[Head, ImageRecord], tuple[str, ...], tuple[str, ...]]:
    """Of each head, the names of the classes, and what has to be known of the file. Raises ValueError."""
    layers = _image.open().described(name=name)
    first = quietly(layers.layers[0], layers.layers[0].heads[0])
    if first.reference is None:
        raise ValueError(
            "it has neither labels nor a prediction, and noise is measured against them; save it with labels"
        )
    labels = "truth" if first.labels is not None else "prediction"
    found: dict[Head, ImageRecord] = {}
    for layer in layers:
        give_way()
        found |= head_records(Layers((layer,)), MeasureOptions(labels=labels))
    assert first.label_set is not None  # where there are labels, they have names
    return found, tuple(first.label_set.class_names), layers.notes


_records_for_all = st.cache_data(_records, max_entries=24, show_spinner=False)
_records_for_one = st.cache_data(_records, max_entries=60, show_spinner=False, scope="session")


def _measured(images: Sequence[Image], notices: DeltaGenerator) -> Measured | None:
    """Every head of every image; what cannot be measured is named in `notices` and left out."""
    row = st.empty()
    bar = row.progress(0.0, f"0 of {len(images)} measured")
    found = Measured([], {}, (), [])
    for place, image in enumerate(images, 1):
        try:
            run = _records_for_one if image.private else _records_for_all
            records, class_names, notes = run(image.key, image.name, image)
            if found.images:
                _require_alike(found, records, class_names)
        except ValueError as error:
            notices.error(f"{literal(image.name)}: {as_clause(error)}.")
        else:
            for head, record in records.items():
                found.records.setdefault(head, []).append(record)
            found = Measured([*found.images, image], found.records, class_names, [*found.notes, notes])
        bar.progress(place / len(images), f"{place} of {len(images)} measured")
    row.empty()
    return found if found.images else None


def _require_alike(found: Measured, records: dict[Head, ImageRecord], class_names: tuple[str, ...]) -> None:
    first = found.images[0].name
    if records.keys() != found.records.keys():
        raise ValueError(f"it has other layers or heads than {first}; a report takes files of one network")
    if class_names != found.class_names:
        raise ValueError(f"it has other classes than {first}; say under “Classes of the labels” whose they are")


# --- what is shown ---------------------------------------------------------------------------------------------------


def _show(summary: dict, measured: Measured, notices: DeltaGenerator) -> None:
    if "prediction" in summary["label_source"]:
        notices.warning(
            "Measured against the network's own prediction, not against ground truth: this flatters it, since a "
            "prediction agrees with itself.",
            icon=":material/warning:",
        )
    if notes := _notes(measured):
        with notices.expander(f"What has to be known of these files ({len(notes)})", expanded=len(notes) <= FEW_NOTES):
            st.markdown("\n".join(f"- {literal(note)}" for note in notes))
    if summary["lowest"] is None:
        notices.info("No class has enough labelled cells beside another class: there is no interclass noise.")
        return
    low, high = summary["lowest"], summary["highest"]
    st.markdown(f"Least interclass noise: {_head_words(low)}; most: {_head_words(high)}. Chance is 1.")
    if words := unlike_classes(summary):
        st.markdown(literal(words))
    st.caption(literal(interval_sentences(summary)))
    stages = stages_of(summary)
    stage = stages[0]
    if len(stages) > 1:
        stage = st.segmented_control(
            "Stage", stages, default=stages[0], required=True, format_func=STAGE_WORDS.get, key=entries.HEADS_STAGE
        )
    st.subheader("Which heads stay on their class?")
    st.caption(MAP_WORDS)
    st.plotly_chart(charts.head_map(summary, stage), key="head map", config=CONFIG, alt=MAP_WORDS)
    with st.popover("What the figures mean"):
        st.markdown(DEFINITIONS)
    st.subheader("For which classes?")
    layer = _choose_layer(list(summary["layers"]), low["layer"])
    words = "One row a class of the query; empty where the class has too few cells."
    st.caption(words)
    st.plotly_chart(charts.class_map(summary, stage, layer), key="class map", config=CONFIG, alt=words)
    st.subheader("All figures")
    st.caption(
        "Means over images, then over classes, with the 95 % interval of noise over chance. Uniform attention, the "
        f"control, is at {_uniform(summary):.2f} × chance."
    )
    table = charts.head_rows(summary, stage)
    st.dataframe(table, hide_index=True, key="head table", column_config=_columns(), placeholder="–")
    left_out = {name: count for name, count in summary["classes_left_out"].items() if count}
    if left_out:
        names = ", ".join(f"{literal(name)} ({count})" for name, count in left_out.items())
        st.caption(f"In fewer than {summary['limits']['min_images']} images, so not in the means: {names}.")
    _offer(summary, measured)


def _notes(measured: Measured) -> list[str]:
    names = (image.name for image in measured.images)
    return notes_of_files(zip(names, measured.notes, strict=True))


def _head_words(head: dict) -> str:
    where = f"{literal(head['layer'])}, head {head['head']}" if head["layer"] else f"head {head['head']}"
    return f"**{where}** ({head['times_chance']:.2f} × chance)"


def _choose_layer(names: list[str], first: str) -> str:
    if len(names) == 1:
        return names[0]
    if st.session_state.get(entries.HEADS_LAYER) not in names:
        st.session_state[entries.HEADS_LAYER] = first
    return st.selectbox("Layer", names, key=entries.HEADS_LAYER, persist_state="session")


def _uniform(summary: dict) -> float:
    first = next(iter(summary["layers"].values()))
    return first["controls"]["uniform"]["interclass_noise"]["times_chance"] or float("nan")


def _columns() -> dict:
    numbers = ("interclass noise", "× chance", "× chance, from", "× chance, to", "intraclass noise")
    numbers += ("hollow fraction", "query dependence")
    columns = {name: st.column_config.NumberColumn(format="%.3f") for name in numbers}
    return columns | {"effective keys": st.column_config.NumberColumn(format="%.0f")}


def _offer(summary: dict, measured: Measured) -> None:
    """The figures as files, as the command line writes them."""
    first = next(iter(measured.records.values()))

    def summary_json() -> str:
        provenance = {
            "version": __version__,
            "definitions": "this project's own",
            "files": [{"name": image.name, "sha256": image.digest} for image in measured.images],
            "images": measured_images(first),
            "options": first[0].options,
            "notes": _notes(measured),
        }
        return json.dumps({"provenance": provenance, **summary}, indent=2, ensure_ascii=False) + "\n"

    with st.container(horizontal=True):
        offer_file("Summary (JSON)", "noise-by-head.json", summary_json, key="heads json")
        offer_file("Every head (CSV)", "noise-by-head.csv", lambda: head_table(summary), key="heads csv")
        offer_file("Every class (CSV)", "noise-by-class.csv", lambda: class_table(summary), key="heads classes csv")
