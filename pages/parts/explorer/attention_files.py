"""The Explorer's attention files: queries and keys, or a finished map, from any network, shown without running one."""

import hashlib
from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis import Capture
from analysis.capture import NUMBERED, CaptureFile, CaptureFileError, read_capture_file
from analysis.lens import MAX_MAP_CELLS, pack_capture
from analysis.pins.measured import Source
from pages.parts.app.uploaders import kept_upload
from pages.parts.app.words import as_clause, literal

FORMAT = """
A `.npz` or `.safetensors` file with `query` and `key` (cells × channels, or heads × cells × channels), `height` and
`width`. It may also hold `scale` (1/√d in transformers), `class_tokens` (leading tokens that are no cells),
`class_probs` (for GR's gates), `image`, `labels` and `prediction`; or a finished map `attention` (cells × cells) in
place of query and key. `metadata`, a JSON text, names the classes: `label_set` alone for those of a public data set
(camvid, cityscapes, voc, ade20k), else `class_names` and, if it is not 255, `ignore_index`. With NumPy:

    numpy.savez("attention.npz", query=query, key=key,
                height=14, width=14, scale=64**-0.5, class_tokens=1,
                image=image, labels=labels,
                metadata='{"label_set": "camvid"}')
"""
MEAN = "mean"


class BroughtAttention(NamedTuple):
    """A file's capture, the lens's buffer of it, and where it comes from."""

    capture: Capture
    payload: bytes
    source: Source


@st.cache_data(max_entries=2, scope="session", show_spinner="Reading the file …")
def _opened(digest: str, name: str, coding: str | None, label_set: str | None, _data: bytes) -> CaptureFile:
    return read_capture_file(_data, name, coding=coding, label_set=label_set)


@st.cache_data(max_entries=4, scope="session", show_spinner="Preparing the attention …")
def _shown(
    digest: str, name: str, head: int | str, read_as: tuple[str | None, str | None], _file: CaptureFile
) -> tuple[Capture, bytes]:
    capture = _file.capture(head).with_image()
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
        shown = _shown(digest, name, _choose_head(file), (coding, label_set), file)
        return BroughtAttention(*shown, Source(kept[0], digest, "file"))
    except CaptureFileError as error:
        notices.error(literal(str(error)))
    except ValueError as error:
        notices.error(f"The attention file cannot be shown: {as_clause(error)}.")
    return None


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
    chosen = st.selectbox(
        "Labels read as",
        list(choices),
        index=None if read is None else 0,
        placeholder="choose",
        format_func=lambda key: choices[key],
        key=f"attention coding {digest[:16]}",
        persist_state="session",
    )
    if chosen is None:
        if read is None:
            raise question
        return read, None
    return _opened(digest, name, chosen, label_set, data), chosen


def _choose_head(file: CaptureFile) -> int | str:
    """One head, or the mean of the heads' maps where that is small enough for the lens."""
    if file.heads == 1:
        return MEAN
    small = file.cells[0] * file.cells[1] <= MAX_MAP_CELLS
    heads = [*([MEAN] if small else []), *range(file.heads)]
    head = st.selectbox(
        "Head", heads, format_func=lambda head: "mean of all" if head == MEAN else f"head {head}", key="head"
    )
    if not small:
        st.caption(f"The mean of the heads is shown up to {MAX_MAP_CELLS} cells.")
    elif head == MEAN and not file.finished:
        st.caption("The mean is a finished map: LR's learnt weights need one head's query and key.")
    return head
