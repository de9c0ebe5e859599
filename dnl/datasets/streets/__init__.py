"""Streets: an endless, seeded set of painted and labelled street scenes in CamVid's eleven classes."""

from dnl.datasets.streets.scenes import HEIGHT, SPLIT_SEEDS, WIDTH, Streets, render_street

__all__ = ["HEIGHT", "SPLIT_SEEDS", "WIDTH", "Streets", "render_street"]
