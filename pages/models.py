"""The Models page: cards of the checkpoints, what their attention is worth, how they were trained, and a user's own."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis.card import (
    CardView,
    open_checkpoint,
    overview_row,
    read_ablation,
    read_log,
    training_logs,
    view_card,
    worth_of,
)
from analysis.charts.lesson import worth_figure
from analysis.charts.models import curves_figure, iou_figure
from analysis.words import DEFINITIONS
from dnl.checkpoints import CheckpointError, checkpoint_hash, checkpoint_path, list_checkpoints, read_card
from dnl.checkpoints.file import ZOO
from pages.parts.app.downloads import offer_text
from pages.parts.app.entry import require_app
from pages.parts.app.links import opened_link, say_ignored, write_link
from pages.parts.app.words import NO_CHECKPOINT, as_clause, as_sentence, literal, literal_rows
from pages.parts.models.predictions import show_predictions
from pages.parts.subjects.models import Model, opened_models, say_health

PAGE = "models"
MOST_MEGABYTES = 200
# A session's opened models stay in the server's memory.
MOST_OPENED = 3
ABLATIONS = ("ablation-test.json", "ablation.json")  # on test, and on val
NOISE_FORMATS = {
    "interclass noise": "%.3f",
    "× chance": "%.2f",
    "hollow fraction": "%.3f",
    "intraclass noise": "%.3f",
    "kept mass": "%.3f",
    "emptied rows": "%d",
}


def views(notices: DeltaGenerator) -> dict[str, CardView]:
    """The cards of all checkpoints by name; says in `notices` which of them cannot be read."""
    found = {}
    for name in list_checkpoints():
        try:
            found[name] = view_card(read_card(name))
        except CheckpointError as error:
            notices.error(f"{literal(name)} cannot be shown: {as_clause(error)}.")
    return found | {name: view_card(model.card) for name, model in opened_models().items()}


@st.cache_data(max_entries=32, show_spinner=False)
def _file_facts(path: str, modified: int) -> dict[str, str]:
    return {"size": f"{Path(path).stat().st_size / 1e6:.1f} MB", "SHA-256": checkpoint_hash(path)}


def file_facts(name: str) -> dict[str, str]:
    """Size and hash of a checkpoint's file. Raises CheckpointError where it is no longer there."""
    if name in opened_models():
        return st.session_state["opened facts"][name]
    path = checkpoint_path(name)
    try:
        return _file_facts(str(path), path.stat().st_mtime_ns)
    except OSError as error:
        raise CheckpointError(f"its file cannot be read ({error.strerror})") from error


def runs_folder() -> Path | None:
    """Where runs with training curves may lie; None where no folder is named."""
    folder = os.environ.get("DNL_CHECKPOINTS")
    return Path(folder) if folder else None


# --- one card --------------------------------------------------------------------------------------------------------


def show_card(name: str, view: CardView) -> None:
    """All about one checkpoint."""
    try:
        facts = file_facts(name)
    except CheckpointError as error:
        st.error(f"{literal(name)} cannot be shown: {as_clause(error)}.")
        return
    about, network, recipe = st.columns(3, gap="large")
    with about:
        st.markdown(
            f"**Data**: {literal(view.data)}\n\n**Choice**: {literal(view.choice)}\n\n"
            f"**Licence of the data**: {literal(view.licence)}\n\n"
            f"**File**: {facts['size']}\n\nSHA-256: `{facts['SHA-256']}`"
        )
    with network:
        st.markdown("**Network**")
        st.table(literal_rows(view.network), hide_header=True, hide_index=True)
    with recipe:
        st.markdown("**Recipe**")
        if view.recipe:
            st.table(literal_rows(view.recipe), hide_header=True, hide_index=True)
        else:
            st.markdown("The card does not say how it was trained.")
    with st.expander("All settings, under the names of the configuration"):
        st.dataframe(view.settings, hide_index=True)
    show_worth(view)
    show_scores({name: view})
    show_noise(view)
    show_training(name, view)


def show_worth(view: CardView) -> None:
    """Whether the attention is alive, and what each replacement of it costs."""
    st.subheader("What is the attention worth?")
    words, picture = st.columns([5, 6], gap="large")
    with words:
        say_health(view.health)
        st.caption(
            "γ = 0 takes the block away; uniform attention and the image's mean row keep it, but take away what "
            "depends on the query. Only where each costs mean IoU, the map is what is used."
        )
    with picture:
        for dataset, scores in view.scores.items():
            if shown := worth_of(scores):
                st.markdown(f"**Mean IoU on {literal(dataset)}**")
                st.plotly_chart(
                    worth_figure(shown),
                    key=f"worth {dataset}",
                    alt=f"Mean IoU on {dataset} with the learnt map and with each replacement.",
                    config={"displayModeBar": False},
                )


def show_scores(shown: dict[str, CardView], key: str = "card") -> None:
    """IoU per class of one model, or of two beside each other, on the data sets that all of them were measured on."""
    st.subheader("Scores")
    first, *others = shown.values()
    datasets = [dataset for dataset in first.scores if all(dataset in view.scores for view in others)]
    datasets = [dataset for dataset in datasets if all("iou" in view.scores[dataset] for view in shown.values())]
    if not datasets:
        st.markdown(
            "There are no scores per class to show: `python -m analysis.card` measures a checkpoint and writes them "
            "into its card."
        )
        return
    st.caption("IoU of a class: pixels that are rightly of it, over pixels that are or are said to be of it; 0 … 1.")
    for dataset, tab in zip(datasets, st.tabs([literal(dataset) for dataset in datasets]), strict=True):
        with tab:
            for name, view in shown.items():
                scores = view.scores[dataset]
                facts = f"mean IoU **{scores['miou']:.3f}**"
                if "pixel_accuracy" in scores:
                    facts += f", pixel accuracy **{scores['pixel_accuracy']:.3f}**"
                if "images" in scores:
                    facts += f", {scores['images']:.0f} images"
                for group, miou in scores.get("groups", {}).items():
                    facts += f"; {literal(group)} **{miou:.3f}**"
                st.markdown(f"{literal(name)}: {facts}")
            st.plotly_chart(
                iou_figure({name: view.scores[dataset]["iou"] for name, view in shown.items()}),
                key=f"iou {key} {dataset}",
                alt=f"IoU of each class on {dataset}.",
                config={"displayModeBar": False},
            )


def show_noise(view: CardView) -> None:
    """The attention noise that the card holds."""
    st.subheader("Attention noise")
    if not view.noise:
        st.markdown("Its noise was not measured: `python -m analysis.card` does it, for networks with attention.")
        return
    st.caption(
        "Means over classes and images under every gate, low is good; the model was trained with its own gate, the "
        "others are put in afterwards. The constant box is a control: what LR would do without learnt weights. "
        "*Oracle* puts the true labels in place of GR's guess. " + literal(view.noise_source)
    )
    st.dataframe(
        view.noise,
        hide_index=True,
        height="content",
        placeholder="–",
        column_config={
            name: st.column_config.NumberColumn(name, format=pattern) for name, pattern in NOISE_FORMATS.items()
        },
    )
    with st.popover("What the figures mean"):
        st.markdown(DEFINITIONS)


def show_training(name: str, view: CardView) -> None:
    """The command that trains it again, and the curves of its run."""
    st.subheader("Training")
    command = view.command
    if command is None:
        st.markdown("The card does not name its recipe, so there is no command that trains this network again.")
    else:
        offer_text("The command that trains it again", lambda: command, key="command")
    if view.history:
        st.markdown("The run was changed on its way, so the command alone does not repeat it:")
        st.markdown("\n".join(f"- {literal(line)}" for line in view.history))
    path = None if name in opened_models() else checkpoint_path(name)
    logs = training_logs(path, runs_folder())
    if not logs:
        st.info(
            "There are no training curves: they are drawn from the metrics.jsonl of a run. Name the run's folder, or "
            "the folder of several runs, in $DNL_CHECKPOINTS.",
            icon=":material/info:",
        )
        return
    chosen = st.selectbox("Training curves of", list(logs), key="log", persist_state="session")
    try:
        records = read_log(logs[chosen])
    except ValueError as error:
        st.error(as_sentence(error))
        return
    if not records:
        st.info("This run has not finished an epoch yet.", icon=":material/info:")
        return
    st.plotly_chart(
        curves_figure(records),
        key="curves",
        alt="Training loss, mean IoU and γ over the epochs.",
        config={"displayModeBar": False},
    )


# --- comparison, ablation, a user's own ------------------------------------------------------------------------------


def show_comparison(found: dict[str, CardView]) -> None:
    """Two checkpoints beside each other."""
    if len(found) < 2:
        st.info(
            "A comparison needs two checkpoints, and there is one: name a folder with others in $DNL_CHECKPOINTS, or "
            "open one of yours.",
            icon=":material/info:",
        )
        return
    names = list(found)
    left, right = st.columns(2)
    with left:
        first = st.selectbox("First", names, key="compared first", persist_state="session")
    with right:
        second = st.selectbox("Second", names, index=1, key="compared second", persist_state="session")
    if first == second:
        st.info("Choose two different checkpoints.", icon=":material/info:")
        return
    shown = {name: found[name] for name in (first, second)}
    tables = [
        {row["setting"]: row["value"] for row in (*view.network, *view.recipe)} | dict(view.health.facts)
        for view in shown.values()
    ]
    rows = list(dict.fromkeys([*tables[0], *tables[1]]))
    values = [
        {"": row} | {name: table.get(row, "–") for name, table in zip(shown, tables, strict=True)} for row in rows
    ]
    st.table(literal_rows(values), hide_index=True)
    show_scores(shown, key="comparison")
    st.subheader("Attention noise")
    if not all(view.noise for view in shown.values()):
        st.markdown("The noise of one of them was not measured, so there is nothing to compare.")
        return
    second_rows = {(row["gate"], row["stage"]): row for row in shown[second].noise}
    both = [row for row in shown[first].noise if (row["gate"], row["stage"]) in second_rows]
    columns = {
        f"{metric}, {name}": [
            (row if name == first else second_rows[row["gate"], row["stage"]])[metric] for row in both
        ]
        for metric in ("× chance", "hollow fraction", "intraclass noise")
        for name in (first, second)
    }
    st.dataframe(
        {"gate": [row["gate"] for row in both], "stage": [row["stage"] for row in both]} | columns,
        hide_index=True,
        height="content",
        column_config={name: st.column_config.NumberColumn(format="%.3f") for name in columns},
    )


def show_ablation() -> None:
    """The ablation's tables, those that are installed."""
    st.markdown(
        "One recipe, one budget, several networks that differ in their attention block alone: what do GR and LR do?"
    )
    try:
        tables = [table for name in ABLATIONS if (table := read_ablation(ZOO / name)) is not None]
    except ValueError as error:
        st.error(as_sentence(error))
        return
    if not tables:
        st.info(
            "There is no ablation table with this installation. `python -m dnl.ablation` trains the networks, and "
            "`python -m analysis.ablation` measures their noise.",
            icon=":material/info:",
        )
        return
    stays = st.column_config.Column(pinned=True)  # while the others are scrolled through
    for table in tables:
        st.dataframe(table.rows, hide_index=True, height="content", column_config={"network": stays})
        st.caption(literal(table.about))


def show_opening() -> None:
    """An uploader of a user's own checkpoint, and what is open."""
    st.markdown(
        "Open a checkpoint that this project has saved. It stays in your session, where the Explorer and the Lesson "
        "offer it; nothing in the file is executed."
    )
    file = st.file_uploader(
        "Checkpoint",
        ["safetensors"],
        key="checkpoint file",
        max_upload_size=MOST_MEGABYTES,
        help=f"A .safetensors file with its card, at most {MOST_MEGABYTES} MB.",
    )
    if file is not None:
        content = file.getvalue()
        key = hashlib.sha256(content).hexdigest()
        if key not in (model.key for model in opened_models().values()):
            try:
                _open(content, file.name, key)
            except CheckpointError as error:
                st.error(as_sentence(error))
                return
            st.rerun()  # the page above lists it, too
    for name in list(opened_models()):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{literal(name)}** is open: choose it as the model in the Explorer or the Lesson.")
            st.button("Close", key=f"close {name}", on_click=opened_models().pop, args=(name, None))


def _open(content: bytes, file_name: str, key: str) -> None:
    """Add the checkpoint in `content` to the session's models. Raises CheckpointError."""
    opened = opened_models()
    if len(opened) >= MOST_OPENED:
        raise CheckpointError(f"{MOST_OPENED} checkpoints are open, and no more can be; close one first")
    network, card = open_checkpoint(content, file_name, most_bytes=MOST_MEGABYTES * 10**6)
    name = f"{Path(file_name).stem} (yours)"
    if name in opened:
        name = f"{Path(file_name).stem} (yours, {key[:6]})"
    opened[name] = Model(network, card, key, name, key, private=True)
    st.session_state.setdefault("opened facts", {})[name] = {"size": f"{len(content) / 1e6:.1f} MB", "SHA-256": key}


# --- the page --------------------------------------------------------------------------------------------------------


def follow_link(names: Sequence[str], notices: DeltaGenerator) -> None:
    """Choose the card that an opened address names."""
    parameters = opened_link()
    if parameters is None:
        return
    if parameters.get("card") in names:
        st.session_state["card of"] = parameters["card"]
    say_ignored(
        notices, [f"{name}={value}" for name, value in parameters.items() if name != "card" or value not in names]
    )


def show_page() -> None:
    """The page, from its overview down."""
    st.title("Models")
    st.markdown("What each checkpoint is, how good it is, and whether its attention is used.")
    notices = st.container()
    found = views(notices)
    follow_link(list(found), notices)
    if found:
        st.dataframe(
            [{**overview_row(view), "checkpoint": name} for name, view in found.items()],
            hide_index=True,
            column_config={"mean IoU": st.column_config.NumberColumn(format="%.3f")},
        )
    else:
        st.error(NO_CHECKPOINT)
    card, comparison, ablation, labelling, opening = st.tabs(
        ["Card", "Compare two", "Ablation", "Label photos", "Open yours"]
    )
    with opening:
        show_opening()
    with card:
        if found:
            name = st.selectbox("Checkpoint", list(found), key="card of", persist_state="session")
            write_link({"card": name})
            show_card(name, found[name])
        else:
            st.markdown("Open a checkpoint of yours to see its card.")
    with comparison:
        show_comparison(found)
    with ablation:
        show_ablation()
    with labelling:
        show_predictions(list(found))


require_app(PAGE)
show_page()
