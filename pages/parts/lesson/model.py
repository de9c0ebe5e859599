"""The lesson's steps on a real model and a built-in street: its three stages, what its attention is worth, and why
attention is not an explanation."""

import numpy as np
import streamlit as st

from analysis import lesson
from analysis.capture import Capture
from analysis.card import view_card, worth_of
from analysis.charts.lesson import street_figure, worth_figure
from analysis.maps import stage_rows
from analysis.noise import query_metrics
from analysis.options import DEFAULT_LR_KERNEL, GATES, MapOptions, stages_there
from analysis.words import TILE_DEFINITIONS
from dnl.checkpoints import CheckpointError
from pages.parts.app.words import as_sentence, literal, say
from pages.parts.lesson.choices import CLASS_TO_START_WITH, QUERY_CLASS, entry
from pages.parts.lesson.picture import choose_scene, needed_model
from pages.parts.lesson.widgets import choice, plot, question, slider
from pages.parts.subjects.captures import captured, network_turn
from pages.parts.subjects.models import Model, say_health
from pages.parts.subjects.pictures import Picture

RETENTION_CHOICES = {"learnt": "learnt weights", "box": "constant box", "off": "off"}
IN_PLACE = {
    "learnt": "the learnt map",
    "uniform": "uniform attention",
    "mean": "the image's mean row",
    "off": "nothing (γ = 0)",
}


def _query(capture: Capture) -> tuple[int, str]:
    """A cell chosen by its class, and the class's name."""
    labels = capture.reference_labels
    names = capture.label_set.class_names
    present = [name for index, name in enumerate(names) if (labels == index).any()]
    key = entry(QUERY_CLASS)
    if st.session_state.get(key) not in present:  # another street or model need not show this class
        st.session_state[key] = CLASS_TO_START_WITH if CLASS_TO_START_WITH in present else present[0]
    name = st.selectbox("the query's class", present, key=key, persist_state="session")
    cells = lesson.cells_of_class(labels, names.index(name))
    place = int(slider("which of its cells", "cell"))
    return int(cells[min(place, len(cells)) - 1]), name


# --- 6: the real model -----------------------------------------------------------------------------------------------


def real_model() -> None:
    """The step on the three stages of a real model."""
    model = needed_model()
    words, picture = st.columns([5, 6], gap="large")
    with words:
        st.markdown(
            "The same three stages on a trained network and a street that it has never seen. Choose a query, then "
            "change the gate and LR: only the maps change, the network is the same."
        )
        try:
            capture, _ = captured(model, choose_scene(model))
        except ValueError as error:
            st.error(f"{as_sentence(error)} Choose another model or street.")
            return
        query, class_name = _query(capture)
        gates = GATES if capture.cell_labels is not None else GATES[:-1]
        gate = choice("gate", "model gate", options=gates, help="oracle: the true labels in place of GR's guess.")
        retention = choice("LR", "model LR", format_func=RETENTION_CHOICES.get)
        options = MapOptions(
            gate=gate,
            lr_kernel=None if retention == "off" else capture.lr_kernel or DEFAULT_LR_KERNEL,
            lr_weights="box" if retention == "box" else "learnt",
        )
        rows = stage_rows(capture, [query], options)
        stages = stages_there(options)
        figures = {stage: _stage_figures(capture, getattr(rows, stage), query) for stage in stages}
        head = literal(f"one cell of {class_name}")
        st.table(
            [
                {head: TILE_DEFINITIONS[name][0]} | {stage: figures[stage][name] for stage in stages}
                for name in lesson.FIGURES
            ],
            hide_index=True,
        )
        if capture.cell_labels is None:
            st.caption(
                "The model knows other classes than the streets' labels: this is measured against its own "
                "prediction, which flatters it."
            )
    with picture:
        pixel = capture.grid.pixel_at(*divmod(query, capture.width))
        maps = {stage: _shares(getattr(rows, stage)[0]) for stage in stages}
        plot(
            street_figure(capture.image, pixel, maps),
            "street",
            "The street with the query marked, and the three attention maps of the query.",
        )
        st.caption(
            "Every map is divided by its own sum, so that the three can share one colour scale; the brightest 0.5 % "
            "share one colour. The ring marks the query."
        )
    question(
        "find a query whose noise is above chance. What do such cells have in common?",
        "Often they lie at the edge of a class, or belong to a thin or small one: a cell of a pole also shows what is "
        "behind the pole. And chance itself is lower for a large class, so the same share of stray attention is worse "
        "there: that is why the noise is always read against chance.",
    )


def _shares(row: np.ndarray) -> np.ndarray:
    return row / (row.sum() or 1.0)


def _stage_figures(capture: Capture, row: np.ndarray, query: int) -> dict[str, str]:
    metrics = query_metrics(row, capture.reference_labels, [query], ignore_index=capture.ignore_index)
    values = {name: float(getattr(metrics, name)[0]) for name in lesson.FIGURES}
    missing = "emptied" if metrics.emptied[0] else "–"
    digits = {name: 1 if name == "effective_keys" else 3 for name in values}
    return {name: f"{value:.{digits[name]}f}" if np.isfinite(value) else missing for name, value in values.items()}


# --- 7: is it used? --------------------------------------------------------------------------------------------------


@st.cache_data(max_entries=24, show_spinner="Running the network four times …")
def _computed(model_key: str, picture_key: str, _model: Model, _picture: Picture) -> dict[str, np.ndarray]:
    with network_turn():
        return lesson.altered_predictions(_model.network, _picture.image, _picture.name)


def _predictions(model: Model, street: Picture) -> dict[str, np.ndarray] | None:
    """The street's `lesson.altered_predictions`; None, and words, where the model's weights give none."""
    try:
        return _computed(model.key, street.content_hash(), model, street)
    except ValueError as error:
        st.error(f"{as_sentence(error)} Choose another model or street.")
        return None


def _worths(model: Model) -> dict[str, dict[str, float]]:
    """What the model's card says of its attention's worth, by data set; {} where its entries cannot be read."""
    try:
        return {dataset: worth_of(scores) for dataset, scores in view_card(model.card).scores.items()}
    except CheckpointError as error:
        st.error(as_sentence(error))
        return {}


def worth() -> None:
    """The step on what the attention is worth."""
    model = needed_model()
    words, picture = st.columns([5, 6], gap="large")
    with words:
        st.markdown(
            "A handsome map proves nothing: the network may not need it, because a second path (the *skip*) leads "
            "around the block. The block's output enters with a learnt weight γ:"
        )
        st.latex(r"Y=\gamma\,(A''V)+X")
        st.markdown(
            "So take the map away and see what is lost: set γ = 0; put **uniform** attention in its place; or give "
            "every query the image's **mean row**. Only a loss each time means that it is *the map* that is used."
        )
        say_health(model.health)
    with picture:
        worths = _worths(model)
        dataset = next((dataset for dataset, shown in worths.items() if shown), None)
        if dataset is not None:
            st.markdown(f"**Mean IoU on {literal(dataset)}**, from the model's card; the axis need not begin at 0")
            plot(worth_figure(worths[dataset]), "worth", "Mean IoU with the learnt map and with each replacement.")
        else:
            st.info("This model's card holds no such measurement; `python -m analysis.card` makes it.")
        st.markdown("**On one street, now**")
        street = choose_scene(model)
        predictions = _predictions(model, street)
        if predictions is not None:
            replacement = choice("in the map's place", "replacement", format_func=IN_PLACE.get)
            _show_predictions(model, street, predictions, replacement)
    question(
        "why is γ = 0 alone not a fair test?",
        "With γ = 0 the block adds nothing at all, and the layers behind it have never seen that: the network can get "
        "worse although the map told it nothing. Uniform attention still adds the image's average value, and the mean "
        "row adds what this image's queries want on average; what they lose is only what depends on the query.",
    )


def _show_predictions(model: Model, street: Picture, predictions: dict[str, np.ndarray], replacement: str) -> None:
    label_set = model.network.label_set
    for place, name in zip(st.columns(2), ("learnt", replacement), strict=True):
        with place:
            score = ""
            if street.labels is not None:
                accuracy = lesson.pixel_accuracy(predictions[name], street.labels, label_set.ignore_index)
                score = f": {accuracy:.1%} of the pixels right"
            st.image(label_set.colour(predictions[name]), caption=f"with {IN_PLACE[name]}{score}", width="stretch")
    changed = float((predictions["learnt"] != predictions[replacement]).mean())
    say(f"**{changed:.1%} of the pixels** change their class.", "lesson changed")


# --- 8: not an explanation -------------------------------------------------------------------------------------------

REASONS = """
- **The same answer with another map.** If a map can be exchanged and the prediction stays, the map cannot be the reason
  for it. Look at the figure on the right.
- **Weights are not contributions.** What arrives is $\\gamma\\sum_j A''_{ij}V_j$: a bright cell with a small or
  cancelling value adds nothing, and γ scales all of it.
- **There are other paths.** The skip and the convolutions bring every cell its neighbourhood, whatever the map says.
- **Cells are no pixels.** A cell has seen a large part of the image before it asks or answers; "it looks there" says
  less than the picture suggests.
- **A map shows where, not why.** That a road cell attends to road cells does not tell what they are used for.
"""
QUESTIONS = (
    (
        "a map has little noise, and γ is 0. What do you tell the author?",
        "That the map follows the classes, and that the network does not use it. Low noise is a property of the map; "
        "use is a property of the network. One needs to be shown beside the other.",
    ),
    (
        "a map is noisy, and uniform attention in its place costs ten points of mean IoU. Is the map bad?",
        "The network relies on it, so it tells something, and what the classes call noise may be useful context: that "
        "a car stands on a road helps to know the car. *Noise* here means: mass on other classes, no more.",
    ),
    (
        "what would convince you that a cell mattered for a prediction?",
        "An intervention: change that cell (mask it, replace its value, block its attention), leave everything else, "
        "and measure how the prediction changes, against the same change at cells that the map calls unimportant.",
    ),
    (
        "the noise falls from raw to rectified. Did GR make the network better?",
        "Not shown by that. GR uses the network's own class guess, so the rectified map follows the classes by "
        "construction. Better segmentation has to be measured on the segmentation, with and without GR in training.",
    ),
)


def explanation() -> None:
    """The step on what a map does not explain."""
    model = needed_model()
    words, picture = st.columns([5, 6], gap="large")
    with words:
        st.markdown("A map shows **what was weighed**. It does not show **why** the network decided.")
        st.markdown(REASONS)
    with picture:
        street = choose_scene(model)
        predictions = _predictions(model, street)
        if predictions is not None:
            kept = float((predictions["learnt"] == predictions["uniform"]).mean())
            say(
                "With the learnt map, and with the emptiest map there is (every cell gets the same), "
                f"**{kept:.1%} of this street's pixels get the same class:**",
                "lesson kept",
            )
            _show_predictions(model, street, predictions, "uniform")
            st.caption(
                "For the pixels that keep their class, the learnt map is no explanation: the answer did not depend on "
                "it. For those that change theirs, it may be part of one."
            )
    for words, answer in QUESTIONS:
        question(words, answer)
