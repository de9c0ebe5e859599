"""Attention as numbers and pictures: capture a model's attention on an image, read its maps, measure their noise.

At the end of a notebook's cell captures, layers and watched networks show the lens. It brings matplotlib along, so it
is imported when something is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.capture import (
    Capture,
    Layers,
    capture_attention,
    load_capture,
    load_layers,
    named_classes,
    save_capture,
    save_layers,
)
from analysis.catch import Watched, hook, mend, watch

if TYPE_CHECKING:
    from analysis.lens import NotebookLens

__all__ = [
    "Capture",
    "Layers",
    "capture_attention",
    "hook",
    "load_capture",
    "load_layers",
    "mend",
    "named_classes",
    "save_capture",
    "save_layers",
    "show",
    "watch",
]

Shown = Capture | Layers | Watched


def show(shown: Shown, **options: Any) -> NotebookLens:
    """The lens on a capture, on `Layers`, or on what `watch` returned, for the last line of a notebook's cell.

    options: `size`, `pins`, `gate`, `layers` and `heads` as in `analysis.lens.show`. Of what `watch` returned also
    those of `Watched.layers`, such as image, labels, item, height and width. Raises ValueError for what does not fit.
    """
    from analysis.lens import show as show_lens

    if isinstance(shown, Watched):
        own = {name: options.pop(name) for name in ("size", "pins", "gate", "layers") if name in options}
        return show_lens(shown.layers(**options), **own)
    return show_lens(shown, **options)


def _repr_html(shown: Shown) -> str:
    from analysis.lens import html_or_reason

    if not isinstance(shown, Watched):
        return html_or_reason(shown)
    try:
        layers = shown.layers()
    except ValueError as error:
        return f"<p>{str(error).replace('&', '&amp;').replace('<', '&lt;')}</p>"
    return html_or_reason(layers)


for _kind in (Capture, Layers, Watched):
    _kind._repr_html_ = _repr_html  # type: ignore[union-attr]
