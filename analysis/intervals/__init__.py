"""Means of images with intervals that keep their promise, and tests of paired differences that keep theirs."""

from analysis.intervals.limits import Interval, mean_interval, ratio_interval, student_quantile
from analysis.intervals.paired import PairedTest, holm, paired_test

__all__ = ["Interval", "PairedTest", "holm", "mean_interval", "paired_test", "ratio_interval", "student_quantile"]
