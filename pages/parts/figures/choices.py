"""The choices of the Figures page: entries of the session, the widgets that change them, and the recipe that they are.

Every entry is named after its field of the recipe.
"""

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from analysis.figures import (
    COLUMN_WIDTH,
    COLUMNS,
    LEAST_PART,
    MAX_HEADS,
    MAX_PIXEL,
    MAX_ROWS,
    MAX_TITLE_LENGTH,
    MAX_WIDTH,
    PAGE_WIDTH,
    PICTURES,
    Attention,
    AttentionImage,
    Colormap,
    ColourBar,
    DifferenceColormap,
    FontFamily,
    Gate,
    ImageSource,
    Letters,
    Look,
    Outline,
    Recipe,
    Row,
    Scale,
    ScaleKind,
    Weights,
    head_column,
)

WIDTHS = {"One column, 3.5 in": COLUMN_WIDTH, "Two columns, 7.16 in": PAGE_WIDTH, "Another": None}
GATE_CHOICES = (*typing.get_args(Gate), "none")  # the model's own first
KERNEL_CHOICES = ("model", "none", *map(str, range(1, 16, 2)))
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
    "true": "from the labels",
    "predicted": "from the prediction",
    "rectified-raw": "rectified − raw",
    "retained-rectified": "retained − rectified",
}


def entry(name: str) -> str:
    """The session's name of a choice."""
    return f"figure {name}"


def get(name: str) -> Any:
    """The value of a choice."""
    return st.session_state[entry(name)]


def put(name: str, value: object) -> None:
    """Make `value` that of a choice; before its widget is there, as every function that changes choices."""
    st.session_state[entry(name)] = value


def keyed(name: str) -> dict:
    """The arguments of a widget that shows and changes a choice, and keeps it on a change of page."""
    return {"key": entry(name), "persist_state": "session"}


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
    put("own titles", recipe.column_titles is not None)
    put("heads", list(recipe.heads))
    given = dict(zip(recipe.all_columns, recipe.column_titles or (), strict=False))
    for name in (*COLUMNS, *map(head_column, recipe.heads)):
        put(f"title {name}", given.get(name, _words(name)))
    show_attention(recipe.attention)
    show_scale(recipe.scale)
    _put_fields(recipe.look)
    put("width words", next((words for words, width in WIDTHS.items() if width == recipe.look.width), "Another"))


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
    put("row count", len(rows))
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
            put(f"row {index} {name}", value)


def whole_file(image: ImageSource) -> ImageSource:
    """An attention file without its layer and head, as the rows' images are chosen; others as they are."""
    return dataclasses.replace(image, layer=None, head="mean") if isinstance(image, AttentionImage) else image


def is_of_files() -> bool:
    """Whether all rows are of attention files, so that heads can have columns of their own and no model is needed."""
    return all(isinstance(get(f"row {index} image"), AttentionImage) for index in range(get("row count")))


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
    return [_chosen_row(index) for index in range(get("row count"))]


def _chosen_row(index: int) -> Row:
    def field(name: str):
        return get(f"row {index} {name}")

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
        "column_titles": [_title(name) for name in titled] if get("own titles") else None,
        "heads": heads,
        "attention": _fields(Attention) | {"gate": _or_none(get("gate")), "lr_kernel": _kernel(get("lr_kernel"))},
        "scale": _fields(Scale),
        "look": _fields(Look) | {"width": WIDTHS[get("width words")] or get("width")},
    }


def _title(name: str) -> str:
    return st.session_state.get(entry(f"title {name}"), _words(name))


def _fields(part: type) -> dict:
    return {field.name: get(field.name) for field in dataclasses.fields(part)}


def _or_none(words: str) -> str | None:
    return None if words == "none" else words


def _kernel(words: str) -> str | int | None:
    return int(words) if words.isdigit() else _or_none(words)


def add_row() -> None:
    """One more row, like the last one."""
    rows = chosen_rows()
    show_rows([*rows, dataclasses.replace(rows[-1], title="")])


def remove_row(index: int) -> None:
    """One row less."""
    rows = chosen_rows()
    show_rows(rows[:index] + rows[index + 1 :])


# --- widgets ---------------------------------------------------------------------------------------------------------


def choose_checkpoint(names: Sequence[str]) -> None:
    """The widget of the model of all rows that name none. names: those of the listed checkpoints."""
    options = [*names, *({get("checkpoint")} - set(names))]
    st.selectbox("Model", options, **keyed("checkpoint"), on_change=forget_hashes)


def chosen_checkpoint() -> str:
    """The name of the model of all rows that name none."""
    return get("checkpoint")


def chosen_models() -> list[str]:
    """The names of the models of all rows."""
    models = (row for row in chosen_rows() if not isinstance(row.image, AttentionImage))
    return list(dict.fromkeys(row.checkpoint or get("checkpoint") for row in models))


def choose_rows(
    names: Sequence[str],
    images: Sequence[ImageSource],
    words: Callable[[ImageSource], str],
    heads_in: Callable[[AttentionImage], Mapping[str, Sequence[int]]],
) -> None:
    """The widgets of the rows. names: as above. images: what a row can show, which `words` names. heads_in: the heads
    of each layer of an attention file."""
    count = get("row count")
    for index in range(count):
        row = f"row {index + 1}"
        widths = [3, 1.3, 1.3, 2.5, *([2] if len(names) > 1 else []), 0.8, 0.8]
        image, y, x, title, *model, more, remove = st.columns(widths, vertical_alignment="bottom")
        image.selectbox(f"Image, {row}", images, format_func=words, **keyed(f"row {index} image"))
        down, across = (f"Of the pixel in {row}, counted from the {side}." for side in ("top", "left"))
        y.number_input("Pixel's row", 0, MAX_PIXEL, step=8, **keyed(f"row {index} y"), help=down)
        x.number_input("Pixel's column", 0, MAX_PIXEL, step=8, **keyed(f"row {index} x"), help=across)
        title.text_input(
            f"Title, {row}",
            **keyed(f"row {index} title"),
            max_chars=MAX_TITLE_LENGTH,
            placeholder="by its class" if get("class_titles") else "none",
        )
        if model and not isinstance(get(f"row {index} image"), AttentionImage):
            options = ["", *names]
            kept = get(f"row {index} checkpoint")
            options += [kept] if kept not in options else []
            key = keyed(f"row {index} checkpoint")
            model[0].selectbox(f"Model, {row}", options, format_func=lambda name: name or "as chosen", **key)
        with more.popover("", icon=":material/tune:", help=f"What {row} has of its own"):
            _choose_own(index, row)
        remove.button(
            "",
            icon=":material/delete:",
            help=f"Remove {row}",
            key=f"remove row {index}",
            disabled=count == 1,
            on_click=remove_row,
            args=(index,),
        )
        if isinstance(get(f"row {index} image"), AttentionImage):
            _choose_head(index, row, heads_in(get(f"row {index} image")))
    st.button("Add a row", icon=":material/add:", on_click=add_row, disabled=count >= MAX_ROWS)


def _choose_head(index: int, row: str, heads: Mapping[str, Sequence[int]]) -> None:
    """Which layer and head of its attention file a row shows. heads: of each layer; none where the file is not here."""
    if not heads:
        return
    layer, head = f"row {index} layer", f"row {index} head"
    if get(layer) not in heads:
        put(layer, next(iter(heads)))  # of another file
    numbers = heads[get(layer)]
    if get(head) not in (*numbers, "mean"):
        put(head, numbers[0])
    of_layer, of_head, _ = st.columns([3, 2.6, 5])
    of_layer.selectbox(f"Layer, {row}", list(heads), format_func=lambda name: name or "the only one", **keyed(layer))
    options = [*numbers, *["mean"] * (len(numbers) > 1 or get(head) == "mean")]
    of_head.selectbox(f"Head, {row}", options, format_func=head_words, **keyed(head))


def head_words(head: int | str) -> str:
    """What a head is called among choices."""
    return "mean of the heads" if head == "mean" else f"head {head}"


def _choose_own(index: int, row: str) -> None:
    """What one row has of its own. row: what it is called."""

    def key(name: str) -> dict:
        return keyed(f"row {index} {name}")

    if st.toggle(f"Attention of its own, {row}", **key("attention")):
        st.selectbox("GR gate", GATE_CHOICES, format_func=_words, **key("gate"))
        st.selectbox("LR window", KERNEL_CHOICES, format_func=_window, **key("lr_kernel"))
        st.selectbox("LR weights", typing.get_args(Weights), format_func=_words, **key("lr_weights"))
        st.number_input("Temperature", 0.01, 100.0, step=0.1, **key("temperature"))
    help = "Those of the figure that this row has panels in; none for all."
    st.multiselect("Columns", get("columns"), format_func=_words, **key("columns"), help=help)
    for part, words in PARTS.items():
        if st.toggle(f"{words}, {row}", **key(part)):
            for side, place in zip(SIDES, st.columns(len(SIDES)), strict=True):
                least = LEAST_PART if side in ("height", "width") else 0
                place.number_input(side, least, MAX_PIXEL, step=8, **key(f"{part} {side}"))


def show_look(own: Mapping[str, str], heads: Sequence[int]) -> None:
    """The widgets of all choices but the model and the rows. own: the options that the models themselves have. heads:
    those that all rows have, where they are of attention files."""

    def words(name: str) -> Callable[[str], str]:
        said = f"{WORDS['model']} ({own[name]})" if name in own else WORDS["model"]
        return lambda value: said if value == "model" else _window(value) if name == "lr_kernel" else _words(value)

    st.multiselect("Columns", COLUMNS, format_func=_words, **keyed("columns"), help="In the order of choosing.")
    if heads:
        options = [*heads, "mean"]
        put("heads", [head for head in get("heads") if head in options])
        help = "Each has a column of its own: its raw map, of the layer of the row."
        st.multiselect("Heads", options, format_func=head_words, max_selections=MAX_HEADS, **keyed("heads"), help=help)
    st.toggle("Titles of my own", **keyed("own titles"))
    if get("own titles"):
        for name in (*get("columns"), *map(head_column, chosen_heads())):
            put(f"title {name}", _title(name))
            st.text_input(f"Title of {_words(name)}", **keyed(f"title {name}"), max_chars=MAX_TITLE_LENGTH)
    with st.expander("Attention", expanded=True):
        _choose("GR gate", GATE_CHOICES, "gate", words=words("gate"))
        _choose("LR window", KERNEL_CHOICES, "lr_kernel", words=words("lr_kernel"))
        _choose("LR weights", typing.get_args(Weights), "lr_weights", words=words("lr_weights"))
        st.number_input("Temperature", 0.01, 100.0, step=0.1, **keyed("temperature"), help="1 is the method.")
    with st.expander("Colours"):
        _choose("Colours show", typing.get_args(ScaleKind), "kind")
        lowest = "For maps that are nearly even. The colour bar says that the scale does not begin at 0."
        st.toggle("From the lowest value, not 0", **keyed("from_lowest"), help=lowest)
        words = "Scales end at this percentile of the values."
        st.number_input("Clipping percentile", 50.0, 100.0, step=0.5, **keyed("clip_percentile"), help=words)
        _choose("Colour map", typing.get_args(Colormap), "colormap", words=str)
        _choose("Colour map of differences", typing.get_args(DifferenceColormap), "difference_colormap", words=str)
        _choose("Colour bar", typing.get_args(ColourBar), "colour_bar")
    with st.expander("Page"):
        st.selectbox("Width", list(WIDTHS), **keyed("width words"))
        if WIDTHS[get("width words")] is None:
            st.number_input("Width in inches", 1.0, MAX_WIDTH, step=0.1, **keyed("width"))
        _choose("Font", typing.get_args(FontFamily), "font_family", words=str)
        words_of_size = "Of all the figure's texts."
        st.number_input("Font size in points", 5.0, 16.0, step=0.5, **keyed("font_size"), help=words_of_size)
        _choose("Letters (a), (b) …", typing.get_args(Letters), "letters")
        _choose("Outline of the query's class", typing.get_args(Outline), "class_outline")
        words_of_titles = "Rows without a title of their own are named by their query's class (and model)."
        st.toggle("Rows named by class", **keyed("class_titles"), help=words_of_titles)
        st.toggle("Mark the query", **keyed("query_marker"))
        st.toggle("Noise figures", **keyed("noise_figures"))


def _words(name: str) -> str:
    return WORDS.get(name, name)


def _window(kernel: str) -> str:
    return f"{kernel}×{kernel}" if kernel.isdigit() else _words(kernel)


def _choose(label: str, options: Sequence[str], name: str, words: Callable[[str], str] = _words) -> None:
    st.selectbox(label, options, format_func=words, **keyed(name))
