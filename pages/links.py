"""Links: what a page shows, written into its address, and read from an address that was opened.

Changing the page clears the address, so every page writes its own again on each run. Whatever an address holds comes
from outside: the pages check every value, and what they cannot use is named and ignored.
"""

import base64
import time
import zlib
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode, urlsplit, urlunsplit

import streamlit as st

from pages.words import literal

# The browser may send the address of a moment ago: what a run wrote is on its way while the user clicks again.
ON_ITS_WAY_SECONDS = 3
MOST_NAMED = 4
MOST_CHARACTERS = 40


def opened_link() -> dict[str, str] | None:
    """The parameters of an address that the user has opened; None where it is one that a page has just written."""
    given = st.query_params.to_dict()
    now = time.monotonic()
    own = [parameters for parameters, until in st.session_state.get("link written", []) if until is None or now < until]
    return None if not given or given in own else given


def write_link(parameters: Mapping[str, str]) -> None:
    """Make the address that of what the page shows."""
    parameters, now = dict(parameters), time.monotonic()
    written = st.session_state.get("link written", [])
    if not written or written[-1][0] != parameters:
        recent = [
            (known, until or now + ON_ITS_WAY_SECONDS) for known, until in written if until is None or until > now
        ]
        st.session_state["link written"] = [*recent, (parameters, None)]
    if st.query_params.to_dict() != parameters:
        st.query_params.from_dict(parameters)


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


def say_ignored(notices, ignored: Sequence[str]) -> None:
    """One sentence on the parts of a link that could not be used; `ignored` are words such as "gate=fancy"."""
    if not ignored:
        return
    named = ", ".join(literal(_shortened(part)) for part in ignored[:MOST_NAMED])
    more = f" and {len(ignored) - MOST_NAMED} more" if len(ignored) > MOST_NAMED else ""
    notices.warning(f"The link was followed without {named}{more}, which cannot be used here.", icon=":material/link:")


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
