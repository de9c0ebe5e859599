"""A data set's attention noise as a folder: measured, summed up, written."""

from analysis.report.paper import paper_tables
from analysis.report.tables import write_class_table, write_figure_table
from analysis.report.typeset import MOST_DIGITS, latex, markdown

__all__ = ["MOST_DIGITS", "latex", "markdown", "paper_tables", "write_class_table", "write_figure_table"]
