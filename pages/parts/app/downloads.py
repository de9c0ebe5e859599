"""What to keep: files that are made when their button is pressed and held until fetched, and texts to copy."""

import functools
import threading
from collections.abc import Callable

import streamlit as st
from streamlit.runtime import get_instance
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

MIME = {
    "html": "text/html",
    "pdf": "application/pdf",
    "svg": "image/svg+xml",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "csv": "text/csv",
    "tex": "application/x-tex",
    "md": "text/markdown",
    "json": "application/json",
    "npz": "application/octet-stream",
    "zip": "application/zip",
}


def offer_file(
    label: str,
    name: str,
    make: Callable[[], str | bytes],
    *,
    key: str,
    icon: str = ":material/download:",
    help: str | None = None,
) -> None:
    """A button that hands out what `make` gives as the file `name`, whose ending says what it is (MIME)."""
    mime = MIME[name.rpartition(".")[2]]
    st.download_button(label, held_file(make, name, mime), name, mime, key=key, icon=icon, help=help, on_click="ignore")


@st.fragment
def offer_text(label: str, make: Callable[[], str], *, key: str) -> None:
    """A text to copy, made and sent when it is opened."""
    expander = st.expander(label, key=key, on_change="rerun")
    if expander.open:
        expander.code(make(), language=None, wrap_lines=True)


def held_file(make: Callable[[], str | bytes], name: str, mime: str) -> Callable[[], bytes]:
    """`make`, the file of which this session holds until its next run.

    By itself Streamlit holds a file made on demand for nobody, and deletes it when the second run after it has ended,
    whoever's that is: where many visitors are, before the browser has fetched it.
    """
    session = get_script_run_ctx()

    def made() -> bytes:
        content = make()
        content = content.encode() if isinstance(content, str) else content
        hold = functools.partial(
            get_instance().media_file_mgr.add, content, mime, f"made {name}", name, is_for_static_download=True
        )
        # Called by Streamlit outside of any session; only a thread of its own can be given one and lose it again.
        holder = add_script_run_ctx(threading.Thread(target=hold), session)
        holder.start()
        holder.join()
        return content

    return made
