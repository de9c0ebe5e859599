"""The presenter view: the lens alone on the whole screen, for a projector."""

import streamlit as st

from pages.parts.app.session import visit

_PRESENTING = "explorer presenting"
# Without the sidebar, the header and the margins; the way back stays in a corner.
STYLE = """<style>
[data-testid=stSidebar], [data-testid=stExpandSidebarButton], [data-testid=stHeader] { display: none; }
.stMainBlockContainer { padding: 0.3rem 0.8rem 1rem; }
.stMainBlockContainer > [data-testid=stVerticalBlock] { gap: 0; }
.st-key-leave_presenting { position: fixed; z-index: 2; top: 0.2rem; right: 0.6rem; width: auto; }
</style>"""


def is_presenting() -> bool:
    """Whether the presenter view is on."""
    return st.session_state.get(_PRESENTING, False)


def present(*, on: bool) -> None:
    """Turn the presenter view on or off; before the lens is there, which is another one then."""
    if on != is_presenting():
        st.session_state[_PRESENTING] = on
        visit(anew=True)


def offer_presenting() -> None:
    """The button that turns it on."""
    words = "The photo and its maps on the whole screen. The link ?present opens it, too."
    st.button("Present", icon=":material/slideshow:", on_click=lambda: present(on=True), key="present", help=words)


def show_stage() -> None:
    """Make room for the lens, and offer the way back."""
    st.html(STYLE)
    with st.container(key="leave_presenting"):
        st.button(
            "Leave",
            icon=":material/close_fullscreen:",
            on_click=lambda: present(on=False),
            key="leave",
            type="tertiary",
        )
