"""A data set's attention noise as a folder: measured, summed up, written."""

from analysis.report.attention import notes_of_files
from analysis.report.head_tables import class_table, head_table
from analysis.report.paper import paper_tables
from analysis.report.tables import write_class_table, write_figure_table
from analysis.report.typeset import MOST_DIGITS, latex, markdown

__all__ = [
    "MOST_DIGITS",
    "class_table",
    "head_table",
    "latex",
    "markdown",
    "notes_of_files",
    "paper_tables",
    "write_class_table",
    "write_figure_table",
]
