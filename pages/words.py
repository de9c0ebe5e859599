"""Words that several pages use: what the figures mean, and names made safe for Markdown."""

import re

DEFINITIONS = """
Attention is compared on *labelled cells*, the query's own cell left out. These definitions are this project's own.

- **interclass noise** (0 … 1, low is good): the share of the attention that falls on cells of other classes.
- **chance**: what attention spread evenly over the image would get; **× chance** is the noise over it. Below 1, the
  attention knows the class; at 1, it does not.
- **intraclass noise** (0 … 1, low is good): how unevenly the attention lies on the query's own class. 0 is evenly, 1
  is all on one cell.
- **hollow fraction** (0 … 1, low is good): the share of the class's cells that get less than a quarter of the class's
  mean attention.
- **kept mass**: the row's total. Raw rows sum to 1 with the query's own cell; GR only takes away, LR adds up
  neighbours. Below 10⁻⁶ the row is *emptied*: it has no noise to measure.
- **effective keys**: over how many cells the attention is spread, the exponential of its entropy.
"""


def literal(name: str) -> str:
    """A name as Markdown shall show it letter by letter: names of files and classes may hold anything."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", name)
