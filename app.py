"""The app's pages. Run it with `streamlit run app.py`.

The server imports this file and serves `app`; for each visitor Streamlit runs the file as `__main__`.
"""

import streamlit as st

from pages.parts.app.entry import announce_app, settle
from pages.parts.app.warming import warm_up


def show_page() -> None:
    """The page that is asked for, in its surroundings."""
    # First of all: without it, Streamlit would name app.py and the files in pages/. Until here it is told to show none.
    st.set_option("client.showSidebarNavigation", True)
    page = st.navigation(
        [
            st.Page("pages/explorer.py", title="Explorer", default=True),
            st.Page("pages/noise_report.py", title="Noise report"),
            st.Page("pages/figures.py", title="Figures"),
            st.Page("pages/lesson.py", title="Lesson"),
            st.Page("pages/models.py", title="Models"),
        ]
    )
    from pages.parts.app.icon import tab_icon  # heavy libraries, without which the server answers sooner

    st.set_page_config(page_title="Denoised non-local attention", page_icon=tab_icon(), layout="wide")
    # Streamlit leaves a hand's breadth free above the title, and its header stays there when the page is scrolled.
    st.html("<style>.stMainBlockContainer { padding-top: 3.5rem; } :root { --lens-top: 3.75rem; }</style>")
    announce_app()
    page.run()
    settle()


if __name__ == "__main__":
    show_page()
else:
    app = st.App(__file__, lifespan=warm_up)
