"""A data set's attention noise as a folder: measured, summed up, written."""
