"""What can be chosen in the lesson, and what it is on a fresh page: for its widgets and for links.

A choice `name` is the session's entry `lesson NAME`.
"""

from typing import NamedTuple

from analysis.options import GATES as GATES_AND_ORACLE
from dnl.attention import GATES


class Span(NamedTuple):
    """A number from `low` to `high` in steps, and where it starts; in the unit that its widget's label names."""

    low: float
    high: float
    start: float
    step: float


class Options(NamedTuple):
    """One of several, and the one at the start."""

    options: tuple[str | int, ...]
    start: str | int


SCORES = ((2.0, 1.0, 0.0), (0.0, -1.0, 3.0))
# Images whose cost is counted: name -> (height, width) in pixels.
SIZES = {
    "360×480 (CamVid)": (360, 480),
    "512×1024": (512, 1024),
    "1024×2048 (Cityscapes)": (1024, 2048),
}
SPANS = {
    **{
        f"score {row} {column}": Span(-5.0, 5.0, start, 0.5)
        for row, starts in enumerate(SCORES)
        for column, start in enumerate(starts)
    },
    "temperature": Span(0.1, 5.0, 1.0, 0.1),
    "astray": Span(0.0, 1.0, 0.3, 0.05),
    "unevenness": Span(0.0, 1.0, 0.3, 0.05),
    "sure query": Span(0.0, 1.0, 0.8, 0.05),
    "sure key": Span(0.0, 1.0, 0.8, 0.05),
    "row astray": Span(0.0, 1.0, 0.5, 0.05),
    "row confidence": Span(0.35, 1.0, 0.8, 0.05),
    "same score": Span(-6.0, 6.0, 2.0, 0.5),
    "other score": Span(-6.0, 6.0, -2.0, 0.5),
    "seed": Span(1, 20, 1, 1),
    "cell": Span(1, 12, 6, 1),
}
OPTIONS = {
    "channels": Options((1, 4, 16, 64, 256), 64),
    "way": Options(("with sliders", "cell by cell"), "with sliders"),
    "key class": Options(("road", "tree", "sky"), "tree"),
    "gate": Options(GATES, "sigmoid"),
    "kernel": Options((3, 5), 3),
    "folding gate": Options(GATES, "sigmoid"),
    "folding kernel": Options((1, 3), 3),
    "image size": Options(tuple(SIZES), "1024×2048 (Cityscapes)"),
    "stride": Options((8, 16), 16),
    "cost kernel": Options((3, 5, 7), 3),
    "cost channels": Options((128, 512), 512),
    "model gate": Options(GATES_AND_ORACLE, "sigmoid"),
    "model LR": Options(("learnt", "box", "off"), "learnt"),
    "replacement": Options(("uniform", "mean", "off"), "uniform"),
}
MISTAKEN, WEIGHTS, WEIGHTS_SHOWN, QUERY_CLASS, STREET = "mistaken", "weights now", "weights then", "class", "street"
WEIGHTS_OPENED = "weights opened"  # how many links have set the weights
CLASS_TO_START_WITH = "Road"
STREET_TO_START_WITH = 4  # from 0
# In the place of a street's number: the picture of the lesson file that was opened.
OWN_PICTURE = -1
WEIGHT_LIMIT = 100.0


def entry(name: str) -> str:
    """The session's entry of a choice."""
    return f"lesson {name}"
