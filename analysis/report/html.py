"""Pieces of the report's page: tables, charts with captions, and figures as text."""

import re
from collections.abc import Mapping, Sequence
from html import escape

# A chart up to this width is shrunk where the page is narrower.
PAGE_POINTS = 700


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Header and first cells are escaped here; the other cells are ready HTML."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    top = f"<caption>{escape(caption)}</caption>"
    return f'<div class="wide"><table>{top}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figure_html(svg: str, caption: str) -> str:
    """A chart with its caption; one wider than the page keeps its size and is scrolled."""
    width = re.search(r'<svg\b[^>]*?\bwidth="([0-9.]+)pt"', svg)
    wide = ' class="wide"' if width and float(width[1]) > PAGE_POINTS else ""
    label = escape(caption)
    return f'<figure role="img" aria-label="{label}"{wide}>{svg}<figcaption>{label}</figcaption></figure>'


def with_interval(entry: Mapping) -> str:
    if entry["mean"] is None:
        return "–"
    interval = "" if entry["low"] is None else f"<small>{plain(entry['low'])} … {plain(entry['high'])}</small>"
    return plain(entry["mean"]) + interval


def difference(entry: Mapping) -> str:
    if entry["mean"] is None:
        return "–"
    interval = "" if entry["low"] is None else f" <small>({signed(entry['low'])} … {signed(entry['high'])})</small>"
    return signed(entry["mean"]) + interval


def plain(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"


def signed(value: float) -> str:
    text = f"{value:+.3f}".replace("-", "−")
    return text if any(digit in text for digit in "123456789") else "0.000"


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def image_count(count: int) -> str:
    return counted(count, "image", "images")


def counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
