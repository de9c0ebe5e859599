"""Links: what a page shows, written into its address, and read from an address that was opened.

Changing the page clears the address, so every page writes its own again on each run. Whatever an address holds comes
from outside: the pages check every value, and what they cannot use is named and ignored.
"""

import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import streamlit as st

from pages.words import literal

# The browser may send the address of a moment ago: what a run wrote is on its way while the user clicks again.
ON_ITS_WAY_SECONDS = 3
MOST_NAMED = 4
MOST_CHARACTERS = 40


def opened_link(page: str) -> dict[str, str] | None:
    """The parameters of an address that the user has opened; None where it is the one that `page` itself wrote."""
    given = st.query_params.to_dict()
    written = st.session_state.get("link written", [])
    own = [
        parameters for of, parameters, until in written if of == page and (until is None or time.monotonic() < until)
    ]
    return None if not given or given in own else given


def write_link(page: str, parameters: Mapping[str, str]) -> None:
    """Make the address that of what `page` shows."""
    parameters = dict(parameters)
    written = st.session_state.setdefault("link written", [])
    if not written or written[-1][:2] != (page, parameters):
        until = time.monotonic() + ON_ITS_WAY_SECONDS
        recent = [(of, known, end or until) for of, known, end in written if end is None or end > time.monotonic()]
        st.session_state["link written"] = [*recent, (page, parameters, None)]
    if st.query_params.to_dict() != parameters:
        st.query_params.from_dict(parameters)


def show_link(parameters: Mapping[str, str]) -> None:
    """The whole address, to copy."""
    address = (st.context.url or "").split("?")[0]
    st.code(f"{address}?{urlencode(parameters)}", language=None, wrap_lines=True)


def say_ignored(notices, ignored: Sequence[str]) -> None:
    """One sentence on the parts of a link that could not be used; `ignored` are words such as "gate=fancy"."""
    if not ignored:
        return
    named = ", ".join(literal(_shortened(part)) for part in ignored[:MOST_NAMED])
    more = f" and {len(ignored) - MOST_NAMED} more" if len(ignored) > MOST_NAMED else ""
    notices.warning(f"The link was followed without {named}{more}, which cannot be used here.", icon=":material/link:")


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
