"""A data set's attention noise as a folder: measured, summed up, written."""

from analysis.report.head_tables import class_table, head_table
from analysis.report.tables import write_class_table

__all__ = ["class_table", "head_table", "write_class_table"]
