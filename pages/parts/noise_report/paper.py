"""The Noise report's tables for a paper: all checkpoints in one file, as LaTeX, Markdown or CSV."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from analysis.measure import ImageRecord
from analysis.report import MOST_DIGITS, latex, markdown, paper_tables, write_figure_table
from pages.parts.app.downloads import offer_file
from pages.parts.noise_report.differences import compared
from pages.parts.noise_report.work import Work, with_provenance


def offer_tables(work: Work, summaries: Mapping[str, dict], records: Mapping[str, list[ImageRecord]]) -> None:
    """The tables of all checkpoints on the page, with the figures in as many digits as chosen."""
    st.subheader("Tables for a paper")
    st.caption(
        "Stages, classes, groups and differences of all checkpoints above, each with what it rests on in its caption. "
        "LaTeX takes booktabs and siunitx; CSV has all digits."
    )
    digits = st.number_input("Digits", 1, MOST_DIGITS, 3, width=160, key="noise digits", persist_state="session")
    told = {name: with_provenance(work, name, summary, records[name]) for name, summary in summaries.items()}
    alike = len({work.class_names[name] for name in records}) == 1
    comparison = compared(work, records) if len(records) > 1 and alike else None
    with st.container(horizontal=True):
        offer_file("LaTeX", "noise.tex", lambda: latex(paper_tables(told, comparison), digits), key="noise tex")
        offer_file("Markdown", "noise.md", lambda: markdown(paper_tables(told, comparison), digits), key="noise md")
        offer_file("CSV", "noise-figures.csv", lambda: _figures_csv(told, comparison), key="noise figures csv")


def _figures_csv(summaries: Mapping[str, dict], comparison: Mapping | None) -> str:
    """The command line's figures.csv."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figures.csv"
        write_figure_table(path, summaries, comparison)
        return path.read_text(encoding="utf-8")
