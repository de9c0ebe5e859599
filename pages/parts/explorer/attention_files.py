"""The Explorer's attention files: queries and keys, or a finished map, from any network, shown without running one."""

import hashlib
from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis import Capture
from analysis.capture import (
    NUMBERED,
    CaptureFile,
    CaptureFileError,
    Layers,
    attention_name,
    read_capture_file,
    rollout,
    why_no_rollout,
)
from analysis.lens import chosen_map, first_map, image_id, layer_bytes, pack_capture, pack_layers
from analysis.pins.measured import Source
from pages.parts.app.session import lens_report
from pages.parts.app.uploaders import kept_upload
from pages.parts.app.words import as_clause, literal
from pages.parts.explorer.example import NAME, choose_example, example_hash
from pages.parts.subjects.pictures import choose_reading

FORMAT = """
A `.npz` or `.safetensors` file with `query` and `key` (cells × channels, or heads × cells × channels), `height` and
`width`. It may also hold `scale` (1/√d in transformers), `class_tokens` (leading tokens that are no cells),
`class_probs` (for GR's gates), `image`, `labels` and `prediction`; or a finished map `attention` (cells × cells) in
place of query and key. `metadata`, a JSON text, names the classes: `label_set` alone for those of a public data set
(camvid, cityscapes, voc, ade20k), else `class_names` and, if it is not 255, `ignore_index`. Several layers have their
name before the array's: `blocks.3/query`. With NumPy:

    numpy.savez("attention.npz", query=query, key=key,
                height=14, width=14, scale=64**-0.5, class_tokens=1,
                image=image, labels=labels,
                metadata='{"label_set": "camvid"}')

What `analysis.watch` saw of a network is written by `watched.save("attention.npz", image=image)`.
"""
ROLLOUT_HELP = "A further map, derived from all layers (Abnar and Zuidema 2020): the network did not compute it."
# Of what travels to the browser at once; Streamlit's own limit for a message is 200 MB.
MAX_LENS_BYTES = 180 * 2**20


class BroughtAttention(NamedTuple):
    """A file's capture, the lens's buffer of it, and where it comes from."""

    capture: Capture
    payload: bytes
    source: Source


_Read = tuple[str, str, str | None, str | None]  # of a file: its digest and name, the coding and classes of its labels


@st.cache_data(max_entries=2, scope="session", show_spinner="Reading the file …")
def _opened(digest: str, name: str, coding: str | None, label_set: str | None, _data: bytes) -> CaptureFile:
    return read_capture_file(_data, name, coding=coding, label_set=label_set)


@st.cache_data(max_entries=4, scope="session", show_spinner="Preparing the attention …")
def _captured(read: _Read, names: tuple[str, ...], layer: str, head: int | str, _layers: Layers) -> Capture:
    return _layers.layer(layer).capture(head).with_image()


@st.cache_data(max_entries=2, scope="session", show_spinner="Preparing the attention …")
def _packed(read: _Read, names: tuple[str, ...], derived: bool, _layers: Layers) -> tuple[Layers, bytes]:
    """The layers that are shown, and the lens's buffer of them."""
    chosen = _layers.chosen(names).with_image()
    if derived:
        chosen = Layers((*chosen.layers, rollout(chosen)), chosen.left_out)
    return chosen, pack_layers(chosen)


@st.cache_data(max_entries=2, scope="session", show_spinner="Preparing the attention …")
def _alone(read: _Read, layer: str, head: int | str, _layers: Layers) -> tuple[Capture, bytes]:
    capture = _layers.layer(layer).capture(head).with_image()
    return capture, pack_capture(capture)


def choose_attention_file(notices: DeltaGenerator) -> BroughtAttention | None:
    """An uploader, and what its file brings, or None; says in `notices` what is wrong."""
    kept = kept_upload(
        "Attention file",
        ["npz", "safetensors"],
        key="attention file",
        help="It stays in your session. No model is run.",
    )
    with st.popover("What such a file holds"):
        st.markdown(FORMAT)
    if kept is None:
        st.caption("Until you choose a file, the first street is shown.")
        return None
    name, data = kept
    name, digest = name.rpartition(".")[0], hashlib.sha256(data).hexdigest()
    try:
        label_set = _classes_of(digest, name, data)
        file, coding = _read_as(digest, name, label_set, data)
        return _brought((digest, name, coding, label_set), file.layers, kept[0])
    except CaptureFileError as error:
        notices.error(literal(str(error)))
    except ValueError as error:
        notices.error(f"The attention file cannot be shown: {as_clause(error)}.")
    return None


def choose_example_attention() -> BroughtAttention:
    """The example of another network, on the street that is chosen."""
    scene, layers = choose_example()
    return _brought((example_hash(), f"{NAME} {scene}", None, None), layers, NAME)


def _brought(read: _Read, layers: Layers, name: str) -> BroughtAttention:
    capture, payload = _shown(read, layers)
    where = attention_name(capture)
    return BroughtAttention(capture, payload, Source(f"{name}: {where}" if where else name, read[0], "file"))


def _classes_of(digest: str, name: str, data: bytes) -> str | None:
    """The label set that was chosen for labels of which it is in doubt; None where it is not.

    Raises CaptureFileError where nobody has chosen yet.
    """
    try:
        _opened(digest, name, None, None, data)
    except CaptureFileError as error:
        if not error.label_sets:
            return None  # whatever is wrong is said where the file is read
        chosen = st.selectbox(
            "Classes of the labels",
            error.label_sets,
            index=None,
            placeholder="choose",
            format_func=lambda of: "as numbered, every value a class" if of == NUMBERED else f"those of {of}",
            key=f"attention classes {digest[:16]}",
            persist_state="session",
        )
        if chosen is None:
            raise
        return chosen
    return None


def _read_as(digest: str, name: str, label_set: str | None, data: bytes) -> tuple[CaptureFile, str | None]:
    """The file, and the coding that was chosen for its labels; None for the recognised one.

    Raises CaptureFileError where it cannot be read, and where nobody has chosen among several readings yet.
    """
    read: CaptureFile | None = None
    try:
        read = _opened(digest, name, None, label_set, data)
        if read.coding is None or len(read.choices) < 2:
            return read, None
        choices = {coding.key: coding.words for coding in (read.coding, *read.choices)}
    except CaptureFileError as error:
        question, choices = error, {coding.key: coding.words for coding in error.choices}
        if not choices:
            raise
    chosen = choose_reading(choices, f"attention coding {digest[:16]}", recognised=read is not None)
    if chosen is None:
        if read is None:
            raise question
        return read, None
    return _opened(digest, name, chosen, label_set, data), chosen


def _shown(read: _Read, layers: Layers) -> tuple[Capture, bytes]:
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
