"""The choices of the Figures page: entries of the session, and the recipe that they are.

Every entry is named after its field of the recipe.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from analysis.figures import (
    COLUMNS,
    PICTURES,
    STYLES,
    Attention,
    AttentionImage,
    Colormap,
    ImageSource,
    Look,
    Outline,
    Recipe,
    Record,
    Row,
    Scale,
    head_column,
)
from pages.parts.figures.annotations import annotations_of, put_annotations
from pages.parts.figures.kept import OWN_TITLES, ROW_COUNT, WIDTH_WORDS, entry, get, of_row, of_title, put

# The parts of an image that a row may have, and how they are given in pixels.
PARTS = {"crop": "Show a part alone", "inset": "Enlarge a part beneath"}
SIDES = ("top", "left", "height", "width")
FIRST_PART = (0, 0, 120, 160)
# What the recipe's words are called on the page.
WORDS = {
    "model": "the model's own",
    "box": "constant box",
    "uniform": "multiples of an even spread",
    "shared": "weights, one scale for all",
    "map": "weights, a scale for each map",
    "log": "multiples of an even spread, logarithmic",
    "right": "right of the panels",
    "below": "below the panels",
    "panels": "on every panel",
    "columns": "on the columns",
    "rows": "on the rows",
    "plain": "none in particular",
    "ieee": "IEEE",
    "elsevier": "Elsevier",
    "springer": "Springer",
    "true": "from the labels",
    "predicted": "from the prediction",
    "rectified-raw": "rectified − raw",
    "retained-rectified": "retained − rectified",
}


def are_there() -> bool:
    """Whether the session has choices yet."""
    return entry("columns") in st.session_state


# --- recipe -> choices -> recipe -------------------------------------------------------------------------------------


def show_recipe(recipe: Recipe) -> None:
    """Make every choice that of `recipe`; before the widgets are there."""
    say_left_out("")
    put("record", recipe.record)
    if recipe.checkpoints:
        show_checkpoint(recipe.checkpoints[0].name)
    put("hashes", {checkpoint.name: checkpoint.sha256 for checkpoint in recipe.checkpoints})
    show_rows(recipe.rows)
    put("columns", list(recipe.columns))
    put(OWN_TITLES, recipe.column_titles is not None)
    put("heads", list(recipe.heads))
    given = dict(zip(recipe.all_columns, recipe.column_titles or (), strict=False))
    for name in (*COLUMNS, *map(head_column, recipe.heads)):
        put(of_title(name), given.get(name, words_of(name)))
    show_attention(recipe.attention)
    show_scale(recipe.scale)
    _put_fields(recipe.look)
    show_width(recipe.look.width)


def show_checkpoint(name: str) -> None:
    """The model of all rows that name none, with the file that is here."""
    put("checkpoint", name)
    forget_hashes()


def forget_hashes() -> None:
    """Fix no checkpoint to the file that an opened recipe was made with."""
    put("hashes", {})


def show_attention(attention: Attention) -> None:
    """How the maps are computed."""
    _put_fields(attention)
    put("gate", attention.gate or "none")
    put("lr_kernel", str(attention.lr_kernel or "none"))


def show_scale(scale: Scale) -> None:
    """The maps' colour scale."""
    _put_fields(scale)


def widths() -> dict[str, float | None]:
    """The widths that the style's publisher prints, in words, and one's own."""
    style = STYLES[get("style")]
    return {
        f"One column, {style.column_width:.4g} in": style.column_width,
        f"Two columns, {style.width:.4g} in": style.width,
        "Another": None,
    }


def show_width(width: float) -> None:
    """The figure's width; the style before."""
    put("width", width)
    put(WIDTH_WORDS, next((words for words, known in widths().items() if known == width), "Another"))


def show_style() -> None:
    """Give the fields that a style decides its values, after it was chosen."""
    look = Look(get("style"))
    for name in STYLES["plain"]._fields:
        if name != "column_width":
            put(name, getattr(look, name))
    show_width(look.width)


def show_colours(colormap: Colormap, outline: Outline) -> None:
    """The maps' colours, and the outline of the query's class."""
    put("colormap", colormap)
    put("class_outline", outline)


def show_class_titles() -> None:
    """Rows without a title of their own are named by their query's class."""
    put("class_titles", True)


def exchange_column(name: str, other: str) -> None:
    """A column in place of another one, unless it is there already."""
    columns = [other if column == name else column for column in get("columns")]
    put("columns", list(dict.fromkeys(columns)))


def say_left_out(sentence: str) -> None:
    """Say what the choices do not have of what was to be shown; "" for nothing."""
    put("left out", sentence)


def left_out() -> str:
    """What `say_left_out` was told last."""
    return get("left out")


def _put_fields(part: Attention | Scale | Look) -> None:
    for name, value in dataclasses.asdict(part).items():
        put(name, value)


def show_rows(rows: Sequence[Row]) -> None:
    """Make the rows `rows`."""
    put_annotations(rows)
    put(ROW_COUNT, len(rows))
    for index, row in enumerate(rows):
        y, x = row.pixel or (0, 0)
        values = {
            "image": whole_file(row.image),
            "layer": "",
            "head": "mean",
            "pixel": row.pixel is not None,
            "y": y,
            "x": x,
            "title": row.title,
        }
        if isinstance(row.image, AttentionImage):
            values |= {"layer": row.image.layer or "", "head": row.image.head}
        for name, value in (values | {"checkpoint": row.checkpoint or ""} | _own_values(row)).items():
            put(of_row(index, name), value)


def whole_file(image: ImageSource) -> ImageSource:
    """An attention file without its layer and head, as the rows' images are chosen; others as they are."""
    return dataclasses.replace(image, layer=None, head="mean") if isinstance(image, AttentionImage) else image


def is_of_files() -> bool:
    """Whether all rows are of attention files, so that heads can have columns of their own and no model is needed."""
    return all(isinstance(get(of_row(index, "image")), AttentionImage) for index in range(get(ROW_COUNT)))


def chosen_heads() -> list[int | str]:
    """The heads that have columns of their own."""
    return get("heads") if is_of_files() else []


def _own_values(row: Row) -> dict[str, Any]:
    """What a row has of its own, as the values of its widgets."""
    attention = row.attention or Attention()
    values = {
        "attention": row.attention is not None,
        "gate": attention.gate or "none",
        "lr_kernel": str(attention.lr_kernel or "none"),
        "lr_weights": attention.lr_weights,
        "temperature": attention.temperature,
        "columns": list(row.columns or ()),
    }
    for part in PARTS:
        box = getattr(row, part)
        values[part] = box is not None
        values |= {f"{part} {side}": value for side, value in zip(SIDES, box or FIRST_PART, strict=True)}
    return values


def chosen_rows() -> list[Row]:
    """The rows as they are chosen."""
    return [_chosen_row(index) for index in range(get(ROW_COUNT))]


def _chosen_row(index: int) -> Row:
    def field(name: str):
        return get(of_row(index, name))

    has_pixel = field("pixel") or set(get("columns")) - set(PICTURES) or chosen_heads()
    image = field("image")
    if isinstance(image, AttentionImage):
        image = dataclasses.replace(image, layer=field("layer") or None, head=field("head"))
    attention = None
    if field("attention"):
        kernel = _kernel(field("lr_kernel"))
        attention = Attention(_or_none(field("gate")), kernel, field("lr_weights"), field("temperature"))
    return Row(
        image,
        (field("y"), field("x")) if has_pixel else None,
        field("title"),
        field("checkpoint") or None,
        attention,
        tuple(name for name in get("columns") if name in field("columns")) or None,
        **{part: tuple(field(f"{part} {side}") for side in SIDES) if field(part) else None for part in PARTS},
        annotations=annotations_of(index),
    )


def chosen_values(hash_of: Callable[[str], str | None]) -> dict:
    """The choices as the JSON values of a recipe, which need not be one that can be drawn.

    hash_of: the SHA-256 of a checkpoint for those that no opened recipe has fixed.
    """
    rows = [dataclasses.asdict(row) for row in chosen_rows()]
    others = [row["checkpoint"] for row in rows if row["checkpoint"]]
    names = dict.fromkeys([] if is_of_files() else [get("checkpoint"), *others])
    heads = chosen_heads()
    titled = [*get("columns"), *map(head_column, heads)]
    return {
        "checkpoints": [{"name": name, "sha256": get("hashes").get(name) or hash_of(name)} for name in names],
        "rows": [
            {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()} for row in rows
        ],
        "columns": get("columns"),
        "column_titles": [title_of(name) for name in titled] if get(OWN_TITLES) else None,
        "heads": heads,
        "attention": _fields(Attention) | {"gate": _or_none(get("gate")), "lr_kernel": _kernel(get("lr_kernel"))},
        "scale": _fields(Scale),
        "look": _fields(Look) | {"width": widths().get(get(WIDTH_WORDS)) or get("width")},
    }


def title_of(name: str) -> str:
    """The title of a column where titles are one's own."""
    return st.session_state.get(entry(of_title(name)), words_of(name))


def _fields(part: type) -> dict:
    return {field.name: get(field.name) for field in dataclasses.fields(part)}


def _or_none(words: str) -> str | None:
    return None if words == "none" else words


def _kernel(words: str) -> str | int | None:
    return int(words) if words.isdigit() else _or_none(words)


def chosen_record() -> Record | None:
    """The record of the recipe that was opened last, if it has one."""
    return get("record")


def chosen_checkpoint() -> str:
    """The name of the model of all rows that name none."""
    return get("checkpoint")


def chosen_models() -> list[str]:
    """The names of the models of all rows."""
    models = (row for row in chosen_rows() if not isinstance(row.image, AttentionImage))
    return list(dict.fromkeys(row.checkpoint or get("checkpoint") for row in models))


def words_of(name: str) -> str:
    """What a word of the recipe is called on the page."""
    return WORDS.get(name, name)


def head_words(head: int | str) -> str:
    """What a head is called among choices."""
    return "mean of the heads" if head == "mean" else f"head {head}"


def add_row() -> None:
    """One more row, like the last one."""
    rows = chosen_rows()
    show_rows([*rows, dataclasses.replace(rows[-1], title="", annotations=())])


def remove_row(index: int) -> None:
    """One row less."""
    rows = chosen_rows()
    show_rows(rows[:index] + rows[index + 1 :])
