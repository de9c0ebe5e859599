"""Models: the listed checkpoints and those that the session's user has opened, loaded once and chosen by name.

Loaded models are kept by their file's name, time and size, a few at a time.
"""

import os
from dataclasses import dataclass

import streamlit as st
import torch
from streamlit.delta_generator import DeltaGenerator

from analysis.card import Health, attention_health
from analysis.pins.measured import Source
from dnl import list_checkpoints, load_checkpoint
from dnl.checkpoints import CheckpointError, checkpoint_hash, checkpoint_path
from dnl.network import SegmentationNetwork
from pages.parts.app.words import NO_CHECKPOINT, as_clause, literal, said_container

# Half of the cores for one session's network: the browser and other sessions need the rest, and where cores are scarce
# PyTorch's threads wait for each other at full speed, five times as slow as one of them alone.
torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))

# Of the badge that says how a model's attention is.
HEALTH_COLOURS = {"alive": "green", "hardly used": "orange", "collapsed": "red", "unknown": "gray"}
# The session's entries of the two selectboxes.
_CHOSEN, _OTHER = "model", "compared with"


@dataclass(frozen=True)
class Model:
    """A loaded network and its card, the SHA-256 of its file, and its key in caches.

    name: what the user knows it by. private: whether it is a user's own.
    """

    network: SegmentationNetwork
    card: dict
    key: str
    name: str
    sha256: str
    private: bool = False

    @property
    def source(self) -> Source:
        """The model as what an attention came from."""
        return Source(self.name, self.sha256)

    @property
    def health(self) -> Health:
        """What its card says of its attention."""
        return attention_health(self.card.get("metrics", {}))


@st.cache_resource(max_entries=3, show_spinner="Loading the model …")
def _load(name: str, modified: int, size: int) -> Model:
    network, card = load_checkpoint(name)
    return Model(network, card, f"{name} {modified} {size}", name, checkpoint_hash(name))


def model_named(name: str) -> Model:
    """The checkpoint of that name, listed or opened. Raises CheckpointError where it cannot be read."""
    return opened_models().get(name) or _listed_model(name)


def model_with_attention(name: str) -> Model:
    """The checkpoint of that name. Raises CheckpointError where it cannot be read or has no attention."""
    model = model_named(name)
    if model.network.context is None:
        raise CheckpointError("this network has no attention to look at (context 'fcn'); choose another")
    return model


def _listed_model(name: str) -> Model:
    try:
        stat = checkpoint_path(name).stat()
    except OSError as error:
        raise CheckpointError(f"its file cannot be read ({error.strerror}); choose another") from error
    return _load(name, stat.st_mtime_ns, stat.st_size)


def opened_models() -> dict[str, Model]:
    """The models that this session's user has opened on the Models page, by name."""
    return st.session_state.setdefault("opened models", {})


def say_health(health: Health, place: str = "") -> None:
    """A model's health as a badge, a sentence, and the figures behind it. place: where there are several on a page."""
    sentence = health.sentence.removeprefix(f"{health.state.capitalize()}: ")
    words = f":{HEALTH_COLOURS[health.state]}-badge[{health.state}] {sentence[0].upper()}{sentence[1:]}"
    with said_container(words, f"health {place}"):
        st.markdown(words)
    if health.facts:
        st.table([{"figure": name, "value": value} for name, value in health.facts], hide_header=True)


# --- choosing one ----------------------------------------------------------------------------------------------------


def choose_model(notices: DeltaGenerator) -> Model | None:
    """A selectbox of the checkpoints; the chosen one, or another where it cannot be used; None where there is none.

    `notices` is the container for what has to be said about it.
    """
    names = [*list_checkpoints(), *opened_models()]
    if not names:
        notices.error(NO_CHECKPOINT)
        return None
    chosen = st.selectbox(
        "Model", names, key=_CHOSEN, persist_state="session", help="Shipped checkpoints, and those in $DNL_CHECKPOINTS."
    )
    for name in (chosen, *(other for other in names if other != chosen)):
        try:
            model = model_with_attention(name)
        except CheckpointError as error:
            notices.error(f"{literal(name)} cannot be shown: {as_clause(error)}.")
            continue
        if name != chosen:
            notices.info(f"Showing {literal(name)} instead.")
        return model
    return None


def choose_other_model(first: Model, notices: DeltaGenerator) -> Model | None:
    """A selectbox of the models that can be shown beside `first`; None where none is chosen or it cannot be used."""
    names = [name for name in (*list_checkpoints(), *opened_models()) if name != first.name]
    if not names:
        return None
    if st.session_state.get(_OTHER) not in names:
        show_other_model(None)
    chosen = st.selectbox(
        "Compare with",
        [None, *names],
        placeholder="nothing",
        key=_OTHER,
        persist_state="session",
        help="A second model, on the same pixel and the same colour scale.",
    )
    if chosen is None:
        return None
    try:
        other = model_with_attention(chosen)
    except CheckpointError as error:
        notices.error(f"{literal(chosen)} cannot be shown beside {literal(first.name)}: {as_clause(error)}.")
        return None
    if other.network.label_set.class_names != first.network.label_set.class_names:
        notices.error(
            f"{literal(chosen)} cannot be shown beside {literal(first.name)}: the two know different classes."
        )
        return None
    return other


def chosen_model() -> str | None:
    """The name in the selectbox of `choose_model`, on whichever page; None before it was there."""
    return st.session_state.get(_CHOSEN)


def show_model(name: str) -> None:
    """Have `choose_model` show the model of that name; before its selectbox is there, as `show_other_model`."""
    st.session_state[_CHOSEN] = name


def show_other_model(name: str | None) -> None:
    """Have `choose_other_model` show the model of that name, or none."""
    st.session_state[_OTHER] = name
