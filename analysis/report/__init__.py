"""A data set's attention noise as a folder: measured, summed up, written."""

from analysis.report.tables import write_class_table

__all__ = ["write_class_table"]
