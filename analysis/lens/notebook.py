"""The lens in a notebook: Jupyter, VS Code, Colab, marimo. It is one self-contained page in a frame of its own.

With the optional package anywidget it is a widget instead, and pins go both ways: `lens.pins`, `lens.observe`.
"""

import functools
import html
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from analysis.capture import Capture, Layers
from analysis.lens.payload import asking_for, image_id, layer_bytes, pack_capture, pack_layers
from analysis.lens.script import CSS, SCRIPT, joined
from analysis.lens.standalone import PAGE_STYLE, standalone_html
from analysis.lens.state import known_pins
from analysis.options import GATES

# A notebook's file holds what it shows: 12 layers of 12 heads of 64 channels on 14×14 cells take 14.
MAX_NOTEBOOK_BYTES = 96 * 2**20
HEIGHT = 760
WIDGET_ADVICE = "pins come back from a notebook with the package anywidget: pip install anywidget"

Pixels = Iterable[tuple[int, int]]


class NotebookLens:
    """A lens on one image, as a notebook's last line shows it; `html` is the same as a page of its own."""

    def __init__(self, buffer: bytes, image: str, title: str, size: tuple[str, int], request: dict[str, Any]):
        self._buffer, self._image, self._title, self._size = buffer, image, title, size
        self._request = {"id": "notebook", **request}
        self._widget = None
        if importlib.util.find_spec("anywidget") is not None:
            self._widget = _widget_class()(payload=buffer, size=list(size), **request)

    @property
    def widget(self) -> Any:
        """The widget behind it. Raises RuntimeError without anywidget."""
        if self._widget is None:
            raise RuntimeError(WIDGET_ADVICE)
        return self._widget

    @property
    def pins(self) -> list[tuple[int, int]]:
        """The pinned pixels (y, x) in the order of their numbers, as they are now; (0, number) of queries without a
        place. Set them, and the lens shows others. Raises RuntimeError without anywidget."""
        return known_pins({self._image: self.widget.pins}).get(self._image, [])

    @pins.setter
    def pins(self, pixels: Pixels) -> None:
        self.widget.pins = as_lists(pixels)

    def observe(self, handler: Callable[[list[tuple[int, int]]], Any]) -> None:
        """Have handler(pins) called whenever the pins change. Raises RuntimeError without anywidget."""
        self.widget.observe(lambda change: handler(self.pins), names="pins")

    @property
    def html(self) -> str:
        """The lens as a page of its own, which needs no network and no kernel."""
        return standalone_html(asking_for(self._buffer, self._request), title=self._title, provenance={}).decode()

    def _repr_html_(self) -> str:
        width, height = self._size
        page = html.escape(self.html, quote=True)
        return (
            f'<iframe srcdoc="{page}" title="{html.escape(self._title, quote=True)}" loading="lazy" '
            f'style="width: {width}; height: {height}px; border: 0"></iframe>'
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The widget where there is one, and the page, which stays when the kernel is gone."""
        page = {"text/plain": repr(self), "text/html": self._repr_html_()}
        if self._widget is None:
            return page
        found = self._widget._repr_mimebundle_(include=include, exclude=exclude)
        return page | (found[0] if isinstance(found, tuple) else found or {})

    def __repr__(self) -> str:
        return f"<lens on {self._title!r}>"


def show(
    shown: Capture | Layers,
    *,
    size: int | tuple[int, int] | None = None,
    pins: Pixels = (),
    gate: str | None = None,
    layers: str | Iterable[str] | None = None,
    heads: int | Sequence[int] | None = None,
) -> NotebookLens:
    """The lens on a capture, or on all layers and heads of one image, for the last line of a notebook's cell.

    size: height in pixels of the screen, or (width, height); None takes all of the width. pins: pixels (y, x) that are
    pinned at first. gate: GR's gate at first, one of GATES, "off" or None for the network's own. layers: names or
    patterns, heads: numbers; the only ones to show. Raises ValueError for what does not fit, and beyond
    MAX_NOTEBOOK_BYTES, with what to do.
    """
    if gate not in (None, "off", *GATES):
        raise ValueError(f"gate is {gate!r}; choose one of {', '.join(GATES)}, off, or None for the network's own")
    request: dict[str, Any] = {"pins": as_lists(pins)}
    if gate is not None:
        request["choices"] = {"gate": gate}
    place = _as_size(size)
    if isinstance(shown, Capture):
        if layers is not None or heads is not None:
            raise ValueError("this is a capture of one map; layers and heads are chosen of what holds several")
        capture = shown.with_image()
        return NotebookLens(pack_capture(capture), image_id(capture), capture.name, place, request)
    chosen = shown.chosen(layers, heads).with_image()
    single = chosen.layers[0]
    if len(chosen) == 1 and single.options.get("query_names") is not None:
        capture = single.capture(single.heads[0])
        return NotebookLens(pack_capture(capture), image_id(capture), capture.name, place, request)
    chosen = placed(chosen)
    taken = sum(map(layer_bytes, chosen))
    if taken > MAX_NOTEBOOK_BYTES:
        raise ValueError(
            f"{chosen.maps} heads of {len(chosen)} layers take {taken / 2**20:.0f} MiB, and a notebook's lens holds "
            f"{MAX_NOTEBOOK_BYTES // 2**20}; choose some with layers=… and heads=…"
        )
    first = chosen.layers[0]
    capture = first.capture(first.heads[0])
    return NotebookLens(pack_layers(chosen), image_id(capture), capture.name, place, request)


def placed(layers: Layers) -> Layers:
    """Those whose queries have a place on the image; the others are left out, with the reason. Raises ValueError where
    none is left."""
    apart = {layer.name for layer in layers if layer.options.get("query_names") is not None}
    if len(apart) == len(layers):
        raise ValueError("the queries of these layers have no place on the image; choose one with layers=…")
    reason = "asks with queries that have no place on the image; choose it alone with layers=…"
    kept = tuple(layer for layer in layers if layer.name not in apart)
    return Layers(kept, layers.left_out | dict.fromkeys(sorted(apart), reason))


def html_or_reason(shown: Capture | Layers) -> str:
    """What stands for it in a notebook: the lens, or a sentence that says why there is none."""
    try:
        return show(shown)._repr_html_()
    except ValueError as error:
        return f"<p>{html.escape(str(error))}</p>"


def as_lists(pixels: Pixels) -> list[list[int]]:
    """Pixels (y, x) as JSON has them. Raises ValueError for what is none."""
    found = [list(pixel) for pixel in pixels]
    for pixel in found:
        if len(pixel) != 2 or any(side != int(side) for side in pixel):
            raise ValueError(f"a pin is {tuple(pixel)!r}; it must be a pixel (y, x), two whole numbers")
    return [[int(y), int(x)] for y, x in found]


def _as_size(size: int | tuple[int, int] | None) -> tuple[str, int]:
    width, height = size if isinstance(size, tuple) else (None, HEIGHT if size is None else size)
    if any(side is not None and not side >= 1 for side in (width, height)):
        raise ValueError(f"size is {size!r}; it must be a height in pixels, or (width, height)")
    return "100%" if width is None else f"{int(width)}px", int(height)


@functools.cache
def _widget_class() -> type:
    """anywidget's class for a lens; made when the first one is shown, since the package is optional."""
    import anywidget
    import traitlets

    module = SCRIPT.replace("export default function showLens", "function showLens")

    class LensWidget(anywidget.AnyWidget):
        _esm = f"{module}\n{joined(('widget.js',))}"
        _css = f"{PAGE_STYLE.replace(':root', '.lens-widget').replace('body {', '.lens-widget {')}\n{CSS}"
        payload = traitlets.Bytes().tag(sync=True)
        size: Any = traitlets.List().tag(sync=True)
        pins: Any = traitlets.List().tag(sync=True)
        choices = traitlets.Dict().tag(sync=True)
        look = traitlets.Dict().tag(sync=True)
        map = traitlets.Dict().tag(sync=True)

    return LensWidget
