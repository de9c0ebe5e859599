"""Annotations on the Figures page: their entries of the session, what a click on the preview adds, and their table."""

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

import streamlit as st

from analysis.figures import (
    COLOURS,
    MAX_ANNOTATIONS,
    MAX_PIXEL,
    MAX_TEXT_LENGTH,
    Annotation,
    AnnotationKind,
    AnnotationPanels,
    Row,
)
from pages.parts.figures.kept import entry, get, keyed, put

PIXEL = "pixel"
# What a click can do, and how it is told.
CLICKS = {PIXEL: "pick its row's pixel", "arrow": "place an arrow", "box": "place a box", "text": "place a text"}
HINTS = {
    PIXEL: "Click on a panel to pick the pixel of its row.",
    "arrow": "Click on what the arrow points at, or draw it from its tail to its tip.",
    "box": "Draw a box from one corner to the other, or click in its middle.",
    "text": "Click where the text stands.",
}
KIND_WORDS = {"arrow": "arrow", "box": "box", "text": "text or letter"}
PANEL_WORDS = {"all": "all panels", "photo": "photo", "maps": "maps"}
REACH = 24  # pixels: of a box from its middle, and of an arrow's tail from its tip, where a click alone places them


# --- entries ---------------------------------------------------------------------------------------------------------


def put_annotations(rows: Sequence[Row]) -> None:
    """Make the annotations those of the rows."""
    found = [(index, annotation) for index, row in enumerate(rows) for annotation in row.annotations]
    put("annotation count", len(found))
    for number, (index, annotation) in enumerate(found):
        (y, x), (to_y, to_x) = annotation.at, annotation.to or (0, 0)
        values = {"row": index, "y": y, "x": x, "to y": to_y, "to x": to_x, "text": annotation.text}
        values |= {"kind": annotation.kind, "panels": annotation.panels, "colour": annotation.colour}
        for name, value in values.items():
            put(f"annotation {number} {name}", value)


def annotations_of(row: int) -> tuple[Annotation, ...]:
    """The annotations of a row, which need not be ones that can be drawn."""
    numbers = range(get("annotation count"))
    return tuple(_chosen(number) for number in numbers if get(f"annotation {number} row") == row)


def _chosen(number: int) -> Annotation:
    def field(name: str) -> Any:
        return get(f"annotation {number} {name}")

    is_text = field("kind") == "text"
    return Annotation(
        field("kind"),
        (field("y"), field("x")),
        None if is_text else (field("to y"), field("to x")),
        field("text") if is_text else "",
        field("panels"),
        field("colour"),
    )


# --- clicks ----------------------------------------------------------------------------------------------------------


def clicked(rows: Sequence[Row], picked: dict, does: str, like: Annotation) -> list[Row]:
    """The rows after a click, which is {"row", "from": [y, x], "to": [y, x]}; does: one of CLICKS.

    like: gives text, panels and colour of what is placed; without a text, texts are A, B, C …
    """
    index = picked["row"]
    begun, ended = (tuple(min(max(0, int(side)), MAX_PIXEL) for side in picked[name]) for name in ("from", "to"))
    if not 0 <= index < len(rows):
        return list(rows)  # of a figure that is shown no more
    row = rows[index]
    if does == PIXEL:
        changed = dataclasses.replace(row, pixel=ended)
    elif len(row.annotations) >= MAX_ANNOTATIONS:
        return list(rows)
    else:
        placed = _placed(does, begun, ended, like, [each for other in rows for each in other.annotations])
        changed = dataclasses.replace(row, annotations=(*row.annotations, placed))
    return [*rows[:index], changed, *rows[index + 1 :]]


def _placed(does: str, begun: tuple, ended: tuple, like: Annotation, others: Sequence[Annotation]) -> Annotation:
    if does == "text":
        letters = sum(each.kind == "text" for each in others)
        return dataclasses.replace(like, kind="text", at=ended, to=None, text=like.text or chr(65 + letters % 26))
    if begun != ended:
        return dataclasses.replace(like, kind=does, at=ended, to=begun, text="")
    near = tuple(side - REACH if side >= REACH else side + REACH for side in ended)
    if does == "arrow":
        return dataclasses.replace(like, kind="arrow", at=ended, to=near, text="")
    far = tuple(2 * side - other if side >= REACH else side for side, other in zip(ended, near, strict=True))
    return dataclasses.replace(like, kind="box", at=near, to=far, text="")


def choose_click() -> None:
    """The widgets of what a click on the preview does."""
    if entry("click") not in st.session_state:
        put("click", PIXEL)
        put("click panels", "all")
        put("click colour", "white")
        put("click text", "")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox("A click on the figure is to", list(CLICKS), format_func=CLICKS.get, **keyed("click"), width=230)
        if chosen_click() == PIXEL:
            return
        if chosen_click() == "text":
            st.text_input(
                "Its text", **keyed("click text"), max_chars=MAX_TEXT_LENGTH, placeholder="A, B, C …", width=160
            )
        panels = typing.get_args(AnnotationPanels)
        st.selectbox("on", panels, format_func=PANEL_WORDS.get, **keyed("click panels"), width=140)
        st.selectbox("in", list(COLOURS), **keyed("click colour"), width=120)


def click_template() -> Annotation:
    """What a click would place, but for its kind and place."""
    return Annotation("text", (0, 0), None, get("click text").strip(), get("click panels"), get("click colour"))


def chosen_click() -> str:
    """What a click on the figure is to do, one of CLICKS."""
    return get("click")


def click_hint() -> str:
    """How what a click does is told."""
    return HINTS[chosen_click()]


# --- the table -------------------------------------------------------------------------------------------------------


def choose_annotations(count: int) -> None:
    """A line of widgets for each annotation. count: of the rows."""
    total = get("annotation count")
    with st.expander(f"Arrows, boxes and texts ({total})" if total else "Arrows, boxes and texts"):
        for number in range(total):
            _choose_one(number, count)
        st.button("Add one", icon=":material/add:", key="add annotation", on_click=_add)
        st.caption("Places are pixels of the row's image; a click on the figure above sets them, too.")


def _choose_one(number: int, count: int) -> None:
    def key(name: str) -> dict:
        return keyed(f"annotation {number} {name}")

    what = f"annotation {number + 1}"
    kind = get(f"annotation {number} kind")
    widths = [1, 1.6, 1, 1, *([2] if kind == "text" else [1, 1]), 1.4, 1.3, 0.7]
    row, of_kind, y, x, *ends, panels, colour, remove = st.columns(widths, vertical_alignment="bottom")
    row.selectbox("Row", range(count), format_func=lambda index: str(index + 1), **key("row"), help=f"Of {what}")
    of_kind.selectbox("Kind", typing.get_args(AnnotationKind), format_func=KIND_WORDS.get, **key("kind"))
    tip = "Tip" if kind == "arrow" else "Corner" if kind == "box" else "Middle"
    y.number_input(f"{tip}, row", 0, MAX_PIXEL, step=8, **key("y"))
    x.number_input(f"{tip}, column", 0, MAX_PIXEL, step=8, **key("x"))
    if kind == "text":
        ends[0].text_input("Text", **key("text"), max_chars=MAX_TEXT_LENGTH)
    else:
        other = "Tail" if kind == "arrow" else "Corner"
        ends[0].number_input(f"{other}, row\N{NO-BREAK SPACE}", 0, MAX_PIXEL, step=8, **key("to y"))
        ends[1].number_input(f"{other}, column\N{NO-BREAK SPACE}", 0, MAX_PIXEL, step=8, **key("to x"))
    panels.selectbox("On", typing.get_args(AnnotationPanels), format_func=PANEL_WORDS.get, **key("panels"))
    colour.selectbox("Colour", list(COLOURS), **key("colour"))
    remove.button(
        "",
        icon=":material/delete:",
        help=f"Remove {what}",
        key=f"remove annotation {number}",
        on_click=_remove,
        args=(number,),
    )


def _add() -> None:
    """One more, on the first row, to be moved."""
    number = get("annotation count")
    values = {"row": 0, "kind": "arrow", "y": 2 * REACH, "x": 2 * REACH, "to y": REACH, "to x": REACH, "text": "A"}
    for name, value in (values | {"panels": "all", "colour": "white"}).items():
        put(f"annotation {number} {name}", value)
    put("annotation count", number + 1)


def _remove(number: int) -> None:
    names = ("row", "kind", "y", "x", "to y", "to x", "text", "panels", "colour")
    count = get("annotation count")
    for later in range(number + 1, count):
        for name in names:
            put(f"annotation {later - 1} {name}", get(f"annotation {later} {name}"))
    put("annotation count", count - 1)
