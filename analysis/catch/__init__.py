"""Any other network's attention, caught while it runs."""

from analysis.catch.hooks import hook

__all__ = ["hook"]
