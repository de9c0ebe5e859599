"""The lens's script and style, as the page and the standalone file need them.

The JavaScript is split by concern, but runs as one module: a component's script comes from a blob, where nothing can
be imported by a relative path. A worker, which cannot share the page's functions, gets the text of those that it needs.
What Python knows as well stands in front of both as one object, SETTINGS, so that it is written in Python alone.
"""

import base64
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from analysis import words
from analysis.lens.looks import FIRST_LOOK, LOOKS
from analysis.lens.payload import FORMAT
from analysis.lens.state import CHOICES, PIN_LIMIT
from analysis.noise import EMPTIED, HOLLOW_THRESHOLD, hollow_share
from analysis.options import DEFAULT_LR_KERNEL, STAGES

_FOLDER = Path(__file__).parent / "browser"
# Joined into one scope, so every top-level name is unique. The first files do not touch the page, and run in the
# worker as well.
COMPUTING = ("buffer.js", "geometry.js", "attention.js", "noise.js", "rows.js", "averages.js")
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
    "layers.js",
    "panels.js",
    "readouts.js",
    "building.js",
    "rendering.js",
    "acting.js",
    "page.js",
)
WORKER = "worker.js"


def _in_camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


# The names of figures are those of Python, written as JavaScript's names are.
SETTINGS: dict[str, Any] = {
    "format": FORMAT,
    "stages": STAGES,
    "choices": {name: asdict(check) for name, check in CHOICES.items()},
    "looks": {name: asdict(check) for name, check in LOOKS.items()},
    "firstLook": FIRST_LOOK,
    "pinLimit": PIN_LIMIT,
    "defaultKernel": DEFAULT_LR_KERNEL,
    "emptied": EMPTIED,
    "hollowThreshold": hollow_share(HOLLOW_THRESHOLD),
    "words": {
        "stages": words.LENS_STAGE_WORDS,
        "differences": words.LENS_DIFFERENCE_WORDS,
        "lacking": words.LACKING_WORDS,
        "gates": words.LENS_GATE_WORDS,
        "retentions": words.LENS_RETENTION_WORDS,
        "directions": words.LENS_DIRECTION_WORDS,
        "figures": {_in_camel_case(name): texts for name, texts in words.LENS_FIGURE_WORDS.items()},
        "columnNote": words.LENS_COLUMN_NOTE,
        "otherKeys": {
            "reason": words.LENS_OTHER_KEYS_REASON,
            "figures": {_in_camel_case(name): texts for name, texts in words.LENS_OTHER_KEYS_FIGURE_WORDS.items()},
        },
        "unplaced": words.LENS_UNPLACED_WORDS,
        "otherTokens": words.LENS_DROPPED_WORDS,
    },
}


def joined(names: tuple[str, ...]) -> str:
    """The text of files of the folder, one after another."""
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)


def _in_script(value: Any) -> str:
    """A value as JavaScript writes it; "<" is escaped so that the text may stand inside an HTML page."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def _computing() -> str:
    """The files that compute, with what rows.wat is compiled to in front."""
    compiled = base64.b64encode((_FOLDER / "rows.wasm").read_bytes()).decode()
    return f'const ROWS_WASM = "{compiled}";\n\n{joined(COMPUTING)}'


def _worker_source() -> str:
    """The worker as a classic script: what is exported for the page and the tests is a plain function here."""
    return re.sub(r"^export ", "", f"{_computing()}\n{joined((WORKER,))}", flags=re.MULTILINE)


def _script() -> str:
    worker = f'"const SETTINGS = " + JSON.stringify(SETTINGS) + ";\\n" + {_in_script(_worker_source())}'
    return (
        f"const SETTINGS = {_in_script(SETTINGS)};\n\n{_computing()}\n"
        f"const WORKER_SOURCE = {worker};\n\n{joined(SHOWING)}"
    )


SCRIPT = _script()
CSS = joined(("lens.css",))
# The script builds the page in this one element, which outlives each run of the script.
HTML = '<div class="lens"></div>'
# The lens that fills the screen.
PRESENT_HTML = '<div class="lens present"></div>'
