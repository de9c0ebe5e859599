"""The lens's script and style, as the page and the standalone file need them.

The JavaScript is split by concern, but runs as one module: a component's script comes from a blob, where nothing can
be imported by a relative path. A worker, which cannot share the page's functions, gets the text of those that it needs.
"""

import json
import re
from pathlib import Path

_FOLDER = Path(__file__).parent / "browser"
# Joined into one scope, so every top-level name is unique. The first files do not touch the page, and run in the
# worker as well.
COMPUTING = ("buffer.js", "geometry.js", "attention.js", "noise.js", "averages.js")
SHOWING = (
    "jobs.js",
    "colour.js",
    "drawing.js",
    "words.js",
    "memory.js",
    "view.js",
    "pointing.js",
    "background.js",
    "controls.js",
    "toolbar.js",
    "panels.js",
    "readouts.js",
    "building.js",
    "rendering.js",
    "page.js",
)
WORKER = "worker.js"


def joined(names: tuple[str, ...]) -> str:
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)


def _worker_source() -> str:
    """The worker as a classic script: what is exported for the page and the tests is a plain function here."""
    return re.sub(r"^export ", "", joined((*COMPUTING, WORKER)), flags=re.MULTILINE)


def _script() -> str:
    # "<" is escaped so that the text may stand inside an HTML page.
    worker = json.dumps(_worker_source(), ensure_ascii=False).replace("<", "\\u003c")
    return f"{joined(COMPUTING)}\nconst WORKER_SOURCE = {worker};\n\n{joined(SHOWING)}"


SCRIPT = _script()
CSS = joined(("lens.css",))
# The script builds the page in this one element, which outlives each run of the script.
HTML = '<div class="lens"></div>'
