"""The pieces of a report's page: its style, tables, charts and figures in words."""

import re
from collections.abc import Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #14181d; --soft: #5b6570; --line: #d5dae0; --tint: #f3f5f8;
  --mark: #fff3d6; --accent: #2566a8; }
@media (prefers-color-scheme: dark) { :root { --ground: #14181d; --text: #e8ebef; --soft: #a2acb8; --line: #39424d;
  --tint: #1e242b; --mark: #43371a; --accent: #7db7ee; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .3rem; }
p, ul, dl { max-width: 46rem; margin: .5rem 0; }
.soft, figcaption, caption { color: var(--soft); font-size: .88rem; }
.mark { background: var(--mark); padding: .6rem .9rem; border-radius: .4rem; }
nav a { margin-right: 1rem; white-space: nowrap; }
a { color: var(--accent); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; margin: .6rem 0; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
thead th { color: var(--soft); font-weight: 600; }
td small { color: var(--soft); display: block; white-space: nowrap; }
figure { margin: 1rem 0; }
figure svg { max-width: 100%; height: auto; display: block; }
figure.wide svg { max-width: none; }
dt { font-weight: 600; margin-top: .7rem; }
dd { margin: 0; }
code { font-size: .88em; overflow-wrap: anywhere; }
@media print { body { font-size: 10pt; background: #fff; color: #000; } main { max-width: none; padding: 0; }
  nav { display: none; } figure, table { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""

# Nothing in the page runs, and nothing is fetched, whatever its names hold.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
)
# A chart up to this width is shrunk where the page is narrower.
PAGE_POINTS = 700


def whole_page(title: str, parts: Sequence[str]) -> str:
    """The self-contained page of a title and the HTML of its parts."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{POLICY}<title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>\n{chr(10).join(parts)}\n</main></body></html>\n"
    )


def table_html(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
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
    """A mean, and below it its interval where there is one; a dash where it is undefined."""
    if entry["mean"] is None:
        return "–"
    interval = "" if entry["low"] is None else f"<small>{plain(entry['low'])} … {plain(entry['high'])}</small>"
    return plain(entry["mean"]) + interval


def times_chance_figure(interclass: Mapping) -> dict:
    """Interclass noise over chance with its interval, as other figures have theirs."""
    return {
        "mean": interclass["times_chance"],
        "low": interclass["times_chance_low"],
        "high": interclass["times_chance_high"],
    }


def difference(entry: Mapping) -> str:
    """A difference with its sign, and its interval in brackets."""
    if entry["mean"] is None:
        return "–"
    interval = "" if entry["low"] is None else f" <small>({signed(entry['low'])} … {signed(entry['high'])})</small>"
    return signed(entry["mean"]) + interval


def plain(value: float | None) -> str:
    """Three decimals, or none from 10 on."""
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"


def signed(value: float) -> str:
    """With its sign, unless all its digits are 0."""
    text = f"{value:+.3f}".replace("-", "−")
    return text if any(digit in text for digit in "123456789") else "0.000"


def percent(value: float) -> str:
    """A share."""
    return f"{100 * value:.0f} %"


def images_words(count: int) -> str:
    """ "1 image", "1,234 images"."""
    return number_words(count, "image", "images")


def number_words(count: int, one: str, many: str) -> str:
    """A number of things in words."""
    return f"{count:,} {one if count == 1 else many}"
