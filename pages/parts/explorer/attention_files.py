"""The Explorer's attention files: queries and keys, or a finished map, from any network, shown without running one."""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis import Capture
from analysis.capture import Layers, attention_name, rollout, why_no_rollout
from analysis.figures import AttentionImage
from analysis.lens import chosen_map, first_map, image_id, layer_bytes, pack_capture, pack_layers
from analysis.pins.measured import Source
from dnl import list_checkpoints
from pages.parts.app.session import lens_report
from pages.parts.app.words import as_clause
from pages.parts.subjects.attention_files import OwnFile, choose_file, own_attention_files
from pages.parts.subjects.captures import captured
from pages.parts.subjects.example import NAME, choose_example, example_hash, example_name
from pages.parts.subjects.models import Model, model_with_attention
from pages.parts.subjects.pictures import Picture

NOTHING, ANOTHER_HEAD = "nothing", "another head or layer"
OTHER = "attention other"
ROLLOUT_HELP = "A further map, derived from all layers (Abnar and Zuidema 2020): the network did not compute it."
# Of what travels to the browser at once; Streamlit's own limit for a message is 200 MB.
MAX_LENS_BYTES = 180 * 2**20


class Subject(NamedTuple):
    """What one looks at: layers, what they are called, the SHA-256 of the file that they come from, and what tells them
    from all others. image: how a figure's recipe names them, without layer and head."""

    name: str
    digest: str
    key: Hashable
    layers: Layers
    image: AttentionImage


class BroughtAttention(NamedTuple):
    """One capture, or two that are compared, the lens's buffer of them, where each comes from, and how a figure's
    recipe names each; None for what it cannot name."""

    captures: list[Capture]
    payload: bytes
    sources: list[Source]
    images: list[AttentionImage | None]


# Nothing changes what is kept here, so that it need not be copied for every run of the page.
@st.cache_resource(max_entries=4, scope="session", show_spinner="Preparing the attention …")
def _captured(read: Hashable, names: tuple[str, ...], layer: str, head: int | str, _layers: Layers) -> Capture:
    return _layers.layer(layer).capture(head).with_image()


@st.cache_resource(max_entries=2, scope="session", show_spinner="Preparing the attention …")
def _packed(read: Hashable, names: tuple[str, ...], derived: bool, _layers: Layers) -> tuple[Layers, bytes]:
    """The layers that are shown, and the lens's buffer of them."""
    chosen = _layers.chosen(names).with_image()
    if derived:
        chosen = Layers((*chosen.layers, rollout(chosen)), chosen.left_out)
    return chosen, pack_layers(chosen)


@st.cache_resource(max_entries=2, scope="session", show_spinner="Preparing the attention …")
def _pair(keys: tuple[Hashable, ...], names: tuple[str, str], _first: Capture, _second: Capture) -> bytes:
    return pack_capture(_first, _second, names=names)


@st.cache_resource(max_entries=2, scope="session", show_spinner="Preparing the attention …")
def _alone(read: Hashable, layer: str, head: int | str, _layers: Layers) -> tuple[Capture, bytes]:
    capture = _layers.layer(layer).capture(head).with_image()
    return capture, pack_capture(capture)


def choose_attention_file(notices: DeltaGenerator) -> BroughtAttention | None:
    """An uploader, and what its file brings, or None without one.

    The page ends here, with words in `notices`, where the file cannot be shown.
    """
    file = choose_file(notices)
    if file is None:
        st.caption("Until you choose a file, the first street is shown.")
        return None
    return _brought(subject_of(file), notices)


def choose_example_attention(notices: DeltaGenerator) -> BroughtAttention:
    """The example of another network, on the street that is chosen."""
    return _brought(_example(*choose_example()), notices)


def subject_of(file: OwnFile) -> Subject:
    """A user's file. Raises CaptureFileError."""
    image = AttentionImage(file.name, sha256=file.digest, **dataclasses.asdict(file.said))
    return Subject(file.name, file.digest, file.key, file.layers, image)


def _example(scene: int, layers: Layers) -> Subject:
    image = AttentionImage(example_name(scene))
    return Subject(NAME, example_hash(), (example_hash(), scene), layers, image)


def _brought(subject: Subject, notices: DeltaGenerator) -> BroughtAttention:
    try:
        other = _choose_other(subject)
        if other is not None:
            return _compared(subject, other)
    except ValueError as error:
        notices.error(f"They cannot be compared: {as_clause(error)}.")
    try:
        capture, payload = _shown(subject.key, subject.layers)
    except ValueError as error:
        notices.error(f"The attention file cannot be shown: {as_clause(error)}. Choose another.")
        st.stop()
    return BroughtAttention([capture], payload, [_source(subject, capture)], [_image(subject, capture)])


def _source(subject: Subject, capture: Capture) -> Source:
    where = attention_name(capture)
    return Source(f"{subject.name}: {where}" if where else subject.name, subject.digest, "file")


def _image(subject: Subject, capture: Capture) -> AttentionImage | None:
    """How a recipe names what is shown; None for maps that are not in the file."""
    if capture.layer is not None and capture.layer not in subject.layers.names:
        return None
    layer = subject.layers.layer(capture.layer or subject.layers.names[0])
    head = layer.heads[0] if capture.head is None else capture.head
    return dataclasses.replace(subject.image, layer=layer.name or None, head=head)


# --- two side by side ------------------------------------------------------------------------------------------------


def _choose_other(subject: Subject) -> Subject | Model | None:
    """What the subject is compared with: another of its heads, another file, the example or a checkpoint; or None."""
    files = {file.name: file for file in own_attention_files() if file.digest != subject.digest}
    options = [NOTHING, ANOTHER_HEAD, *files, *list_checkpoints()]
    if st.session_state.get(OTHER) not in options:
        st.session_state[OTHER] = NOTHING  # a file that is no longer here
    help = "Two heads, layers or networks on the same photo, with the same pins."
    chosen = st.selectbox("Compare with", options, key=OTHER, persist_state="session", help=help)
    if chosen == NOTHING:
        return None
    if chosen == ANOTHER_HEAD:
        return subject
    return subject_of(files[chosen]) if chosen in files else model_with_attention(chosen)


def _compared(subject: Subject, other: Subject | Model) -> BroughtAttention:
    """Two attentions side by side. Raises ValueError where they show different images or know different classes."""
    first = _choose_head(subject, "first")
    second = _by_model(other, first) if isinstance(other, Model) else _choose_head(other, "second")
    sources = [_source(subject, first), other.source if isinstance(other, Model) else _source(other, second)]
    names = tuple(source.name for source in sources)
    keys = subject.key, first.layer, first.head, other.key, second.layer, second.head
    images = [_image(subject, first), None if isinstance(other, Model) else _image(other, second)]
    return BroughtAttention([first, second], _pair(keys, names, first, second), sources, images)


def _choose_head(subject: Subject, which: str) -> Capture:
    """A layer and a head, and its capture."""
    layers = subject.layers
    entry = f"compared {which}"
    name = layers.names[-1]
    layer, head = st.columns(2)
    with layer:
        if len(layers) > 1:
            name = _choose(f"Layer, {which}", layers.names, f"{entry} layer", layers.names[-1])
    numbers = layers.layer(name).heads
    with head:
        chosen = _choose(f"Head, {which}", numbers, f"{entry} head", numbers[-1 if which == "second" else 0])
    return _captured(subject.key, tuple(layers.names), name, chosen, layers)


def _choose(label: str, options: Sequence, key: str, first: object) -> Any:
    if st.session_state.get(key) not in options:
        st.session_state[key] = first  # of another file
    return st.selectbox(label, options, key=key, persist_state="session")


def _by_model(model: Model, capture: Capture) -> Capture:
    """What a checkpoint does on the same photo. Raises ValueError without one."""
    picture = Picture(capture.image, capture.labels, capture.name, private=True)
    return captured(model, picture)[0]


# --- one, with all its heads -----------------------------------------------------------------------------------------


def _shown(read: Hashable, layers: Layers) -> tuple[Capture, bytes]:
    """The capture of the head that is chosen in the lens, and the lens's buffer of all heads that can be shown at once.

    Queries without a place, and a single map, have a lens of their own.
    """
    if layers.maps == 1:
        return _alone(read, layers.names[0], layers.layers[0].heads[0], layers)
    if any(layer.options.get("query_names") is not None for layer in layers):
        layer = layers.layer(st.selectbox("Layer", layers.names, key="layer"))
        if len(layers) == 1 or layer.options.get("query_names") is not None:
            return _alone(read, layer.name, st.selectbox("Head", layer.heads, key="head"), layers)
        layers = layers.chosen(layer.name)
    names = _choose_layers(layers)
    derived = _choose_rollout(layers.chosen(names))
    shown, payload = _packed(read, names, derived, layers)
    image = image_id(_captured(read, names, *first_map(shown), shown))
    layer, head = chosen_map(shown, image, lens_report("maps"))
    return _captured(read, names, layer, head, shown), payload


def _choose_layers(layers: Layers) -> tuple[str, ...]:
    """The names of those that are shown: all, or as many as can be at once, evenly spread unless they are chosen."""
    sizes = {layer.name: layer_bytes(layer) for layer in layers}
    if sum(sizes.values()) <= MAX_LENS_BYTES:
        held = f"{layers.maps} heads" if len(layers) == 1 else f"{len(layers)} layers, {layers.maps} heads"
        st.caption(f"{held}: choose one above the lens.")
        return tuple(layers.names)
    count = max(1, MAX_LENS_BYTES // max(sizes.values()))
    step = len(layers) / min(count, len(layers))
    spread = [layers.names[int(number * step)] for number in range(min(count, len(layers)))]
    st.caption(f"Of {len(layers)} layers {count} fit into the lens at once.")
    chosen = st.multiselect("Layers", layers.names, default=spread, max_selections=count, key="layers")
    return tuple(name for name in layers.names if name in (chosen or spread))


def _choose_rollout(layers: Layers) -> bool:
    """Whether the rollout is shown as a further map; says why where there can be none."""
    if len(layers) < 2:
        return False
    reason = why_no_rollout(layers)
    wanted = st.checkbox("Rollout over the layers", key="rollout", help=ROLLOUT_HELP, disabled=reason is not None)
    if reason is not None:
        st.caption(f"No rollout: {as_clause(reason)}.")
    return wanted and reason is None
