"""The lesson on paper: what a browser prints of it."""

import streamlit as st

# Streamlit scrolls within the window, of which a browser would print one sheet.
STYLE = """<style>
@media print {
  @page { margin: 14mm; }
  html, body, #root, .stApp, .stApp > *, [data-testid=stAppViewContainer], [data-testid=stMain],
  .stMainBlockContainer { position: static !important; display: block !important; height: auto !important;
    min-height: 0 !important; width: auto !important; max-width: none !important; overflow: visible !important;
    transform: none !important; }
  .stMainBlockContainer { padding: 0 !important; }
  [data-testid=stSidebar], [data-testid=stHeader], [data-testid=stToolbar], [data-testid=stDecoration],
  [data-testid=stStatusWidget], [data-testid=stExpandSidebarButton], [data-testid=stElementToolbar],
  .stButton, .stDownloadButton, .stFileUploader, .st-key-lesson-walk, .st-key-lesson-hour
    { display: none !important; }
  .stPlotlyChart { zoom: 0.7; } /* drawn as wide as on the screen */
  h1, h2, h3, h4 { break-after: avoid; }
  table, tr, .stTable, .stPlotlyChart, .stExpander, .stAlert, [data-testid=stMetric], .katex-display,
  [class*="st-key-exercise-question"] { break-inside: avoid; }
  .stVerticalBlock, .stHorizontalBlock { overflow: visible !important; }
  p, li { orphans: 3; widows: 3; }
}
</style>"""


def fit_for_paper() -> None:
    """Have the browser print the page alone: no sidebar, no buttons, nothing cut."""
    st.html(STYLE)
