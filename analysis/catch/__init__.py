"""Any other network's attention, caught while it runs: exactly, or not at all."""

from analysis.catch.caught import Caught
from analysis.catch.layers import Entry, Watched, hook, watch

__all__ = ["Caught", "Entry", "Watched", "hook", "watch"]
