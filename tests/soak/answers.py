"""What visitors got for their images and pins, against what the same request gives in a process of its own.

Everything that the Explorer shows or hands out is the same to the last bit whoever asks, so that an answer with a
single number of somebody else's is found. The comparison waits until the visitors have left, because it takes the
processor's time.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analysis import Capture, capture_attention
from analysis.figures.recipe import Scale
from analysis.lens import map_options
from analysis.pins.files import pins_csv, pins_figure, pins_json, pins_npz
from analysis.pins.measured import PinnedPixels, Source, measure_pins
from dnl import load_checkpoint
from dnl.checkpoints import checkpoint_hash
from pages.parts.explorer.pins import figures_table

TABLE = "the table of the pinned pixels"
# The colours that the Explorer starts with, which no visitor here changes.
SCALE, COLORMAP = Scale(), "magma"

FILES: dict[str, Callable[[list[PinnedPixels]], str | bytes]] = {
    "Figures (CSV)": pins_csv,
    "Figures (JSON)": pins_json,
    "Maps (NPZ)": pins_npz,
    **{
        f"Figure ({name.upper()})": lambda views, name=name: pins_figure(views, SCALE, COLORMAP, name)
        for name in ("pdf", "svg", "png")
    },
}
LENS_FILE = "Lens (HTML)"


@dataclass(frozen=True, eq=False)
class Photo:
    """An image that a visitor looks at, H×W×3 uint8, with labels H×W or None."""

    image: np.ndarray
    labels: np.ndarray | None
    name: str

    @functools.cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.image.tobytes()).hexdigest()


class Answer(NamedTuple):
    """Visitor number `visitor` saw these pins (y, x) of `photo` by these models, and got `content` as `what`."""

    visitor: int
    photo: Photo
    pins: tuple[tuple[int, int], ...]
    models: tuple[str, ...]
    what: str
    content: str | bytes


def strange_answers(answers: Iterable[Answer]) -> list[str]:
    """A sentence for each answer that is not what its visitor would have got alone."""
    return [
        f"visitor {answer.visitor}: {answer.what} is not that of {answer.photo.name}, pins {list(answer.pins)}, by "
        f"{' and '.join(answer.models)}"
        for answer in answers
        if not _is_own(answer)
    ]


def _is_own(answer: Answer) -> bool:
    if answer.what == LENS_FILE:
        # The lens's own tests compare its numbers; here it is enough whose image and models it holds.
        wanted = (answer.photo.sha256, *(_model(name)[1].sha256 for name in answer.models))
        return all(digest.encode() in answer.content for digest in wanted)
    views = [_view(answer.photo, name, answer.pins) for name in answer.models]
    if answer.what == TABLE:
        return answer.content == figures_table(views, pinned=True)
    expected = FILES[answer.what](views)
    return answer.content == (expected.encode() if isinstance(expected, str) else expected)


def _view(photo: Photo, model: str, pins: tuple[tuple[int, int], ...]) -> PinnedPixels:
    capture = _capture(photo, model)
    return measure_pins(capture, pins, map_options(capture, None), _model(model)[1])


@functools.cache
def _capture(photo: Photo, model: str) -> Capture:
    return capture_attention(_model(model)[0], photo.image, labels=photo.labels, name=photo.name)


@functools.cache
def _model(name: str):
    return load_checkpoint(name)[0], Source(name, checkpoint_hash(name))
