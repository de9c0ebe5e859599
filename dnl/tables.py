"""Figures of repeated runs as tables: means and standard deviations, in JSON and in Markdown."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """A figure's key, its heading, its decimals, and whether its standard deviation is shown."""

    key: str
    heading: str
    digits: int
    spread: bool = False


def mean_and_spread(values: Sequence[float | None]) -> dict | None:
    """{"mean", "sd" (of a sample; None for a single value), "values"} of the values there are; None without any."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    sd = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": statistics.fmean(known), "sd": sd, "values": known}


def markdown_table(rows: Sequence[dict], columns: Sequence[Column]) -> str:
    """Rows of {"variant", "seeds", key: mean_and_spread(…)}; a column of which no row knows anything is left out."""
    shown = [column for column in columns if any(row[column.key] for row in rows)]
    lines = [["network", "seeds", *(column.heading for column in shown)], ["---"] * (2 + len(shown))]
    lines += [[row["variant"], str(len(row["seeds"])), *(_cell(row[c.key], c) for c in shown)] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(figure: dict | None, column: Column) -> str:
    if figure is None:
        return "–"
    mean = f"{figure['mean']:.{column.digits}f}"
    return f"{mean} ± {figure['sd']:.{column.digits}f}" if column.spread and figure["sd"] is not None else mean
