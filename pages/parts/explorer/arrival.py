"""The Explorer's arrival: the lens comes first, and what stands below it once the lens is alive.

A browser shows what one run has sent all at once, when it has loaded the scripts of every kind of element in it: so
what is not seen on arrival is sent by a later run, and what is folded away only when it is opened.
"""

import streamlit as st

from pages.parts.app.session import lens_key

_SENT = "lens sent"


def lens_comes_first() -> bool:
    """Whether this run is the first that sends this visit's lens, which asks for another one when it has drawn."""
    first = st.session_state.get(_SENT) != lens_key()
    st.session_state[_SENT] = lens_key()
    return first
