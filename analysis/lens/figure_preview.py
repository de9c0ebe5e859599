"""The preview of a figure: a browser component that shows its picture and tells Python which pixels are clicked."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.lens.script import joined

SCRIPT = joined(("controls.js", "preview.js"))
CSS = joined(("preview.css",))
HTML = '<div class="figure-preview"></div>'


def preview_data(content: bytes, panels: Sequence[Mapping[str, Any]], *, width: int, words: str, hint: str) -> dict:
    """What the component needs, ready for JSON.

    content: a PNG file. panels: of each its row, its left, top, width and height in parts of the picture, and `shown`,
    the part (top, left, height, width) of its image in pixels. width: at most, on the screen, in pixels. words: what
    the picture is. hint: what a click does. A click comes back as {"row", "from": [y, x], "to": [y, x]}.
    """
    picture = "data:image/png;base64," + base64.b64encode(content).decode()
    return {
        "picture": picture,
        "panels": [dict(panel) for panel in panels],
        "width": width,
        "words": words,
        "hint": hint,
    }
