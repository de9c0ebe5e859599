"""The app's pages. Run it with `streamlit run app.py`."""

import matplotlib
import numpy as np
import pandas  # noqa: F401  Plotly uses pandas where it is imported, even if another session is still importing it
import streamlit as st
from PIL import Image

from pages.parts.app.entry import announce_app, settle

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

# The tab's icon is drawn here, because Streamlit fetches named icons from the network: a spot of attention.
across = np.linspace(-1, 1, 64)
spot = np.exp(-4 * (across[:, None] ** 2 + across[None, :] ** 2))
icon = Image.fromarray(matplotlib.colormaps["inferno"](spot, bytes=True))
st.set_page_config(page_title="Denoised non-local attention", page_icon=icon, layout="wide")
# Streamlit leaves a hand's breadth free above the title, and its header stays there when the page is scrolled.
st.html("<style>.stMainBlockContainer { padding-top: 3.5rem; } :root { --lens-top: 3.75rem; }</style>")
announce_app()
page.run()
settle()
