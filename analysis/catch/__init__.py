"""Any other network's attention, caught while it runs."""

from analysis.catch.caught import Caught
from analysis.catch.layers import hook, watch
from analysis.catch.mending import Mended, mend
from analysis.catch.watched import Entry, Watched

__all__ = ["Caught", "Entry", "Mended", "Watched", "hook", "mend", "watch"]
