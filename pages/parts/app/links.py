"""Links: what a page shows, written into its address, and read from an address that was opened.

Changing the page clears the address, so every page writes its own again on each run. Whatever an address holds comes
from outside: the pages check every value, and what they cannot use is named and ignored.
"""

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.parts.app.words import literal

# Addresses of a session that are known as its own: far more than can be on their way to the browser.
MOST_WRITTEN = 200
MOST_NAMED = 4
MOST_CHARACTERS = 40


def opened_link() -> dict[str, str] | None:
    """The parameters of an address that the user has opened or gone back to; None for one that a page has written.

    A request may carry any address that was written before: the user can click while the latest is on its way to the
    browser. So one of them is only followed where the browser says that its history was used.
    """
    given = st.query_params.to_dict()
    if not given or (given in st.session_state.get("link written", []) and not _in_history()):
        return None
    return given


def _in_history() -> bool:
    """Whether this run was asked for by the browser's Back or Forward."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def write_link(parameters: Mapping[str, str]) -> None:
    """Make the address that of what the page shows.

    What an earlier run has written may reach the browser after it sent the address of this run, so that the address is
    written again wherever either of the two is another one.
    """
    parameters = dict(parameters)
    written = st.session_state.get("link written", [])
    changed = not written or written[-1] != parameters
    if changed:
        st.session_state["link written"] = [*written, parameters][-MOST_WRITTEN:]
    if changed or st.query_params.to_dict() != parameters:
        st.query_params.from_dict(parameters)


@st.fragment
def offer_link(words: str, parameters: Mapping[str, str], width: Literal["content", "stretch"] = "content") -> None:
    """The link to this view, to copy, with `words` above it; it comes when it is opened."""
    popover = st.popover(
        "Link to this view", icon=":material/link:", key="link to this view", on_change="rerun", width=width
    )
    if popover.open:
        with popover:
            st.markdown(words)
            show_link(parameters)


def show_link(parameters: Mapping[str, str]) -> None:
    """The whole address, to copy."""
    parts = urlsplit(st.context.url or "")
    address = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", urlencode(parameters), ""))
    st.code(address, language=None, wrap_lines=True)


def packed(text: str) -> str:
    """A long text as a parameter, in letters that an address holds as they are."""
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")


def unpacked(parameter: str, most: int) -> str:
    """The text of `packed`, of at most `most` bytes. Raises ValueError for anything else."""
    unpacker = zlib.decompressobj()
    try:
        raw = base64.b64decode(parameter + "=" * (-len(parameter) % 4), altchars=b"-_", validate=True)
        text = unpacker.decompress(raw, most)
    except zlib.error as error:
        raise ValueError(f"it cannot be unpacked ({error})") from error
    if not unpacker.eof:
        raise ValueError(f"it is cut off or longer than {most} bytes")
    return text.decode()


def say_ignored(notices: DeltaGenerator, ignored: Sequence[str]) -> None:
    """One sentence on the parts of a link that could not be used; `ignored` are words such as "gate=fancy"."""
    if not ignored:
        return
    named = ", ".join(literal(_shortened(part)) for part in ignored[:MOST_NAMED])
    more = f" and {len(ignored) - MOST_NAMED} more" if len(ignored) > MOST_NAMED else ""
    notices.warning(f"The link was followed without {named}{more}, which cannot be used here.", icon=":material/link:")


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
