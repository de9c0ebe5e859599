"""File uploaders whose files outlive a change of page, which empties Streamlit's own.

A file is (name, content).
"""

import streamlit as st

from dnl.pictures import FORMAT_OF_ENDING, PHOTO_FORMATS, is_label_picture, is_picture, words_of
from pages.parts.app.words import literal

# Endings of what can be read here, without their dots.
PHOTO_TYPES = [end[1:] for end in FORMAT_OF_ENDING if is_picture(f"a{end}")]
LABEL_TYPES = [end[1:] for end in FORMAT_OF_ENDING if is_label_picture(f"a{end}")]
PHOTO_WORDS = words_of(PHOTO_FORMATS)
# Files that one uploader keeps for a session.
MOST_FILES = 24


def kept_upload(label: str, types: list[str], *, key: str, help: str | None = None) -> tuple[str, bytes] | None:
    """A file uploader: what was chosen, or None."""

    def keep() -> None:
        file = st.session_state[key]
        keep_file(key, None if file is None else (file.name, file.getvalue()))

    shown = st.file_uploader(label, types, key=key, on_change=keep, help=help)
    kept = kept_file(key)
    if kept and not shown:
        st.caption(f"Still in use: {literal(kept[0])}")
    return kept


def keep_file(key: str, file: tuple[str, bytes] | None) -> None:
    """Make `file` what the uploader `key` of `kept_upload` gives."""
    st.session_state[f"kept {key}"] = file


def kept_file(key: str) -> tuple[str, bytes] | None:
    """What the uploader `key` of `kept_upload` gives, on whichever page."""
    return st.session_state.get(f"kept {key}")


def kept_uploads(
    label: str, types: list[str], *, key: str, most: int = MOST_FILES, help: str | None = None
) -> list[tuple[str, bytes]]:
    """`kept_upload` for several files: the first `most` of them; says which others are left out."""

    def keep() -> None:
        st.session_state[f"kept {key}"] = [(file.name, file.getvalue()) for file in st.session_state[key][:most]]

    shown = st.file_uploader(label, types, key=key, on_change=keep, accept_multiple_files=True, help=help)
    kept = kept_files(key)
    if len(shown) > most:
        left_out = _some_names([file.name for file in shown[most:]])
        st.warning(f"The first {most} of these {len(shown)} files are used; left out: {left_out}.")
    if kept and not shown:
        st.caption(f"Still in use: {', '.join(literal(name) for name, _ in kept)}")
    return kept


def kept_files(key: str) -> list[tuple[str, bytes]]:
    """What the uploader `key` of `kept_uploads` gives, on whichever page."""
    return st.session_state.get(f"kept {key}") or []


def _some_names(names: list[str], most: int = 5) -> str:
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*map(literal, names[:most]), *more])
