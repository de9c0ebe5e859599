"""The widgets of the Figures page that change its choices."""

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from analysis.figures import (
    COLUMNS,
    LEAST_PART,
    MAX_HEADS,
    MAX_PIXEL,
    MAX_ROWS,
    MAX_TITLE_LENGTH,
    MAX_WIDTH,
    STYLES,
    AttentionImage,
    Colormap,
    ColourBar,
    DifferenceColormap,
    FontFamily,
    Gate,
    ImageSource,
    LetterForm,
    LetterPlace,
    Letters,
    Outline,
    ScaleKind,
    TitlePlace,
    Weights,
    head_column,
)
from pages.parts.figures.choices import (
    PARTS,
    SIDES,
    WORDS,
    add_row,
    chosen_heads,
    forget_hashes,
    head_words,
    remove_row,
    show_style,
    title_of,
    widths,
    words_of,
)
from pages.parts.figures.kept import OWN_TITLES, ROW_COUNT, WIDTH_WORDS, get, keyed, of_row, of_title, put

GATE_CHOICES = (*typing.get_args(Gate), "none")  # the model's own first
KERNEL_CHOICES = ("model", "none", *map(str, range(1, 16, 2)))

FONT_WORDS = {"DejaVu Sans": "DejaVu Sans", "DejaVu Serif": "DejaVu Serif", "STIXGeneral": "STIX, like Times"}
PLACE_WORDS = {"inside": "in the panel's corner", "above": "above", "below": "below"}
STYLE_HELP = "Sets width, font, titles and letters as the publisher asks; what you change afterwards stays yours."


def choose_checkpoint(names: Sequence[str]) -> None:
    """The widget of the model of all rows that name none. names: those of the listed checkpoints."""
    options = [*names, *({get("checkpoint")} - set(names))]
    st.selectbox("Model", options, **keyed("checkpoint"), on_change=forget_hashes)


def choose_rows(
    names: Sequence[str],
    images: Sequence[ImageSource],
    words: Callable[[ImageSource], str],
    heads_in: Callable[[AttentionImage], Mapping[str, Sequence[int]]],
) -> None:
    """The widgets of the rows. names: as above. images: what a row can show, which `words` names. heads_in: the heads
    of each layer of an attention file."""
    count = get(ROW_COUNT)
    for index in range(count):
        row = f"row {index + 1}"
        widths = [3, 1.3, 1.3, 2.5, *([2] if len(names) > 1 else []), 0.8, 0.8]
        image, y, x, title, *model, more, remove = st.columns(widths, vertical_alignment="bottom")
        image.selectbox(f"Image, {row}", images, format_func=words, **keyed(of_row(index, "image")))
        down, across = (f"Of the pixel in {row}, counted from the {side}." for side in ("top", "left"))
        y.number_input("Pixel's row", 0, MAX_PIXEL, step=8, **keyed(of_row(index, "y")), help=down)
        x.number_input("Pixel's column", 0, MAX_PIXEL, step=8, **keyed(of_row(index, "x")), help=across)
        title.text_input(
            f"Title, {row}",
            **keyed(of_row(index, "title")),
            max_chars=MAX_TITLE_LENGTH,
            placeholder="by its class" if get("class_titles") else "none",
        )
        if model and not isinstance(get(of_row(index, "image")), AttentionImage):
            options = ["", *names]
            kept = get(of_row(index, "checkpoint"))
            options += [kept] if kept not in options else []
            key = keyed(of_row(index, "checkpoint"))
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
        if isinstance(get(of_row(index, "image")), AttentionImage):
            _choose_head(index, row, heads_in(get(of_row(index, "image"))))
    st.button("Add a row", icon=":material/add:", on_click=add_row, disabled=count >= MAX_ROWS)


def _choose_head(index: int, row: str, heads: Mapping[str, Sequence[int]]) -> None:
    """Which layer and head of its attention file a row shows. heads: of each layer; none where the file is not here."""
    if not heads:
        return
    layer, head = of_row(index, "layer"), of_row(index, "head")
    if get(layer) not in heads:
        put(layer, next(iter(heads)))  # of another file
    numbers = heads[get(layer)]
    if get(head) not in (*numbers, "mean"):
        put(head, numbers[0])
    of_layer, of_head, _ = st.columns([3, 2.6, 5])
    of_layer.selectbox(f"Layer, {row}", list(heads), format_func=lambda name: name or "the only one", **keyed(layer))
    options = [*numbers, *["mean"] * (len(numbers) > 1 or get(head) == "mean")]
    of_head.selectbox(f"Head, {row}", options, format_func=head_words, **keyed(head))


def _choose_own(index: int, row: str) -> None:
    """What one row has of its own. row: what it is called."""

    def key(name: str) -> dict:
        return keyed(of_row(index, name))

    if st.toggle(f"Attention of its own, {row}", **key("attention")):
        st.selectbox("GR gate", GATE_CHOICES, format_func=words_of, **key("gate"))
        st.selectbox("LR window", KERNEL_CHOICES, format_func=_window, **key("lr_kernel"))
        st.selectbox("LR weights", typing.get_args(Weights), format_func=words_of, **key("lr_weights"))
        st.number_input("Temperature", 0.01, 100.0, step=0.1, **key("temperature"))
    help = "Those of the figure that this row has panels in; none for all."
    st.multiselect("Columns", get("columns"), format_func=words_of, **key("columns"), help=help)
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
        return lambda value: said if value == "model" else _window(value) if name == "lr_kernel" else words_of(value)

    st.multiselect("Columns", COLUMNS, format_func=words_of, **keyed("columns"), help="In the order of choosing.")
    if heads:
        options = [*heads, "mean"]
        put("heads", [head for head in get("heads") if head in options])
        help = "Each has a column of its own: its raw map, of the layer of the row."
        st.multiselect("Heads", options, format_func=head_words, max_selections=MAX_HEADS, **keyed("heads"), help=help)
    st.toggle("Titles of my own", **keyed(OWN_TITLES))
    if get(OWN_TITLES):
        for name in (*get("columns"), *map(head_column, chosen_heads())):
            put(of_title(name), title_of(name))
            st.text_input(f"Title of {words_of(name)}", **keyed(of_title(name)), max_chars=MAX_TITLE_LENGTH)
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
        _show_page()
        _choose("Outline of the query's class", typing.get_args(Outline), "class_outline")
        words_of_titles = "Rows without a title of their own are named by their query's class (and model)."
        st.toggle("Rows named by class", **keyed("class_titles"), help=words_of_titles)
        st.toggle("Mark the query", **keyed("query_marker"))
        st.toggle("Noise figures", **keyed("noise_figures"))


def _show_page() -> None:
    """The widgets of a publisher's style, and of all that it decides."""
    _choose("Publisher's style", list(STYLES), "style", on_change=show_style, help=STYLE_HELP)
    st.selectbox("Width", list(widths()), **keyed(WIDTH_WORDS))
    if widths()[get(WIDTH_WORDS)] is None:
        st.number_input("Width in inches", 1.0, MAX_WIDTH, step=0.1, **keyed("width"))
    _choose("Font", typing.get_args(FontFamily), "font_family", words=FONT_WORDS.get)
    size_help = "Of all the figure's texts."
    st.number_input("Font size in points", 5.0, 16.0, step=0.5, **keyed("font_size"), help=size_help)
    _choose("Letters (a), (b) …", typing.get_args(Letters), "letters")
    if get("letters") != "none":
        _choose("Form of the letters", typing.get_args(LetterForm), "letter_form", words=str)
    if get("letters") == "panels":
        _choose("Place of the letters", typing.get_args(LetterPlace), "letter_place", words=PLACE_WORDS.get)
    _choose("Titles of the columns", typing.get_args(TitlePlace), "titles", words=PLACE_WORDS.get)
    st.toggle("Bold titles and letters", **keyed("bold"))


def _window(kernel: str) -> str:
    return f"{kernel}×{kernel}" if kernel.isdigit() else words_of(kernel)


def _choose(
    label: str,
    options: Sequence[str],
    name: str,
    words: Callable[[str], str | None] = words_of,
    **options_of_widget: Any,
) -> None:
    st.selectbox(label, options, format_func=words, **keyed(name), **options_of_widget)
