"""The lens's script and style, as the page and the standalone file need them.

The JavaScript is split by concern, but runs as one module: a component's script comes from a blob, where nothing can
be imported by a relative path. A worker, which cannot share the page's functions, gets the text of those that it needs.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent
SHOWING = ("lens.js",)


def _joined(names: tuple[str, ...]) -> str:
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)


SCRIPT = _joined(SHOWING)
CSS = (_FOLDER / "lens.css").read_text(encoding="utf-8")
# The script builds the page in this one element, which outlives each run of the script.
HTML = '<div class="lens"></div>'
