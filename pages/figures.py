"""The Figures page: composing a paper figure, with a live preview, its files and its recipe.

Every choice is an entry of the session, named after its field of the recipe, so that it outlives a change of page.
What is drawn is always the recipe read from these entries.
"""

import dataclasses
import functools
import io
import json

import streamlit as st
from PIL import Image

from analysis.figures import OtherFileError, caption_text, figure_file
from analysis.figures.recipe import (
    MAX_BYTES,
    MAX_PIXEL,
    MAX_ROWS,
    MAX_TITLE_LENGTH,
    Attention,
    Checkpoint,
    FileImage,
    Look,
    Recipe,
    RecipeError,
    Row,
    StreetImage,
    recipe_from_json,
    recipe_to_json,
)
from dnl import list_checkpoints
from pages.parts.app.downloads import offer_file
from pages.parts.app.entry import require_app
from pages.parts.app.links import opened_link, packed, say_ignored, unpacked, write_link
from pages.parts.app.uploaders import PHOTO_TYPES, kept_uploads
from pages.parts.app.words import NO_CHECKPOINT, as_clause, as_sentence, literal
from pages.parts.figures.choices import (
    chosen_rows,
    chosen_values,
    entry,
    get,
    keyed,
    put,
    show_look,
    show_recipe,
    show_rows,
)
from pages.parts.figures.from_pins import is_figure_asked_for, kept_figure, pinned_pixels, show_pinned
from pages.parts.figures.sources import image_choices, image_words, listed_hash, own_images, remembered_captures

# Two queries of one street: attention that falls on other classes until GR takes it away, and attention that does not.
DEFAULT_ROWS = (Row(StreetImage(4), (290, 240), "Road"), Row(StreetImage(4), (210, 180), "Pavement"))
DEFAULT_COLUMNS = ("photo", "labels", "raw", "rectified", "retained")
PAGE = "figures"
PINS_HELP = (
    "Every pixel that is pinned in the Explorer becomes a row, with the model, gate, LR, temperature and colours that "
    "are chosen there."
)
PREVIEW_DPI = 200
PREVIEW_PIXELS_PER_INCH = 150  # on the screen
FILES = (("PDF", "pdf", 300), ("SVG", "svg", 300), ("PNG, 300 dpi", "png", 300), ("PNG, 600 dpi", "png", 600))


def default_recipe(model: str) -> Recipe:
    parts = {"attention": Attention(gate="binary"), "look": Look(class_outline="true")}
    return Recipe((Checkpoint(model),), DEFAULT_ROWS, DEFAULT_COLUMNS, **parts)


# --- what the buttons do ---------------------------------------------------------------------------------------------


def add_row() -> None:
    rows = chosen_rows()
    show_rows([*rows, dataclasses.replace(rows[-1], title="")])


def remove_row(index: int) -> None:
    rows = chosen_rows()
    show_rows(rows[:index] + rows[index + 1 :])


def take_pins() -> None:
    """All pins of the Explorer, in its last view."""
    figure = kept_figure()
    if figure is not None:
        show_pinned(figure, pinned_pixels())


def show_example() -> None:
    show_recipe(default_recipe(list_checkpoints()[0]))
    put("problem", None)


def follow_explorer() -> None:
    """Show the pins with which the Explorer sent its user here."""
    figure = kept_figure()
    if is_figure_asked_for() and figure is not None:
        show_pinned(figure, [(figure.image, pixel) for pixel in figure.pixels])


def forget_hashes() -> None:
    """Use the files that are here in place of those that an opened recipe was made with."""
    put("hashes", {})
    own = {image.path: image for image in own_images()}
    here = [
        dataclasses.replace(row, image=own.get(row.image.path, row.image)) if isinstance(row.image, FileImage) else row
        for row in chosen_rows()
    ]
    show_rows(here)


def open_recipe() -> None:
    put("problem", None)
    file = st.session_state[entry("recipe file")]
    if file is None:
        return
    try:
        show_recipe(recipe_from_json(file.getvalue()))
    except RecipeError as error:
        put("problem", f"{literal(file.name)} cannot be used: {as_clause(error)}.")


def follow_link(notices) -> None:
    """Open the recipe that an opened address holds."""
    parameters = opened_link()
    if parameters is None:
        return
    ignored = [f"{name}={value}" for name, value in parameters.items() if name != "recipe"]
    try:
        if "recipe" in parameters:
            show_recipe(recipe_from_json(unpacked(parameters["recipe"], MAX_BYTES)))
    except ValueError as error:
        ignored.append(f"recipe ({error})")
    say_ignored(notices, ignored)


# --- the page --------------------------------------------------------------------------------------------------------


def show_choices(names: list[str]) -> None:
    with st.sidebar:
        options = [*names, *({get("checkpoint")} - set(names))]
        st.selectbox("Model", options, **keyed("checkpoint"), on_change=lambda: put("hashes", {}))
        show_look()


def show_row_choices(names: list[str], notices) -> None:
    st.subheader("Rows")
    sources = image_choices(chosen_rows(), notices)
    count = get("row count")
    for index in range(count):
        row = f"row {index + 1}"
        widths = [3, 1.3, 1.3, 2.5, *([2] if len(names) > 1 else []), 0.8]
        image, y, x, title, *model, remove = st.columns(widths, vertical_alignment="bottom")
        image.selectbox(f"Image, {row}", sources, format_func=image_words, **keyed(f"row {index} image"))
        down, across = (f"Of the pixel in {row}, counted from the {side}." for side in ("top", "left"))
        y.number_input("Pixel's row", 0, MAX_PIXEL, step=8, **keyed(f"row {index} y"), help=down)
        x.number_input("Pixel's column", 0, MAX_PIXEL, step=8, **keyed(f"row {index} x"), help=across)
        title.text_input(f"Title, {row}", **keyed(f"row {index} title"), max_chars=MAX_TITLE_LENGTH)
        if model:
            options = ["", *names]
            kept = get(f"row {index} checkpoint")
            options += [kept] if kept not in options else []
            key = keyed(f"row {index} checkpoint")
            model[0].selectbox(f"Model, {row}", options, format_func=lambda name: name or "as chosen", **key)
        remove.button(
            "",
            icon=":material/delete:",
            help=f"Remove {row}",
            key=f"remove row {index}",
            disabled=count == 1,
            on_click=remove_row,
            args=(index,),
        )
    st.button("Add a row", icon=":material/add:", on_click=add_row, disabled=count >= MAX_ROWS)


def show_starts(*, is_example: bool) -> None:
    """Buttons for what a figure can begin with; is_example: whether it is as it was at first."""
    pins = 0 if kept_figure() is None else len(pinned_pixels())
    with st.container(horizontal=True):
        words = f"Rows from the Explorer's pins ({pins})"
        st.button(words, icon=":material/push_pin:", on_click=take_pins, disabled=not pins, help=PINS_HELP)
        st.button("Back to the example", icon=":material/undo:", on_click=show_example, disabled=is_example)


def show_uploads() -> None:
    photos, labels, recipe = st.columns(3)
    with photos:
        words = "PNG, JPEG or WebP. They stay in your session, and join the images of the rows."
        kept_uploads("Your photos", PHOTO_TYPES, "figure photos", help=words)
    with labels:
        words = "PNGs of class indices, each named like its photo: street.jpg and street-labels.png."
        kept_uploads("Their labels", ["png"], "figure labels", help=words)
    with recipe:
        st.file_uploader("Open a recipe", ["json"], key=entry("recipe file"), on_change=open_recipe)


def show_figure(recipe: Recipe, preview, downloads) -> None:
    captures, hashes = remembered_captures(recipe)
    content = figure_file(recipe, captures, hashes, "png", PREVIEW_DPI)
    width, height = Image.open(io.BytesIO(content)).size
    size = f"{width / PREVIEW_DPI:.2f} × {height / PREVIEW_DPI:.2f} inches"
    # In a container of its width, since a picture wider than the page would not shrink by itself.
    preview.container(width=round(recipe.look.width * PREVIEW_PIXELS_PER_INCH)).image(
        content, caption=size, width="stretch"
    )
    with downloads, st.container(horizontal=True):
        for words, file_format, dpi in FILES:
            offer_file(
                words,
                f"attention-{dpi}.png" if file_format == "png" else f"attention.{file_format}",
                functools.partial(figure_file, recipe, captures, hashes, file_format, dpi),
                key=f"figure file {words}",
            )
        offer_file(
            "Recipe",
            "recipe.json",
            functools.partial(recipe_to_json, recipe),
            key="figure file recipe",
            icon=":material/receipt_long:",
            help="`python -m analysis.figures recipe.json out.pdf` makes the same file from it, without the app.",
        )
    with downloads.expander("A caption to copy"):
        st.code(caption_text(recipe, captures, hashes), language=None, wrap_lines=True)


def show_page() -> None:
    st.title("A figure for the paper")
    starts, notices, preview, downloads = (st.container() for _ in range(4))
    names = list_checkpoints()
    if not names:
        notices.error(NO_CHECKPOINT)
        st.stop()
    if entry("columns") not in st.session_state:
        show_example()
        put("first", chosen_values(listed_hash))
    follow_link(notices)
    follow_explorer()
    show_choices(names)
    show_row_choices(names, notices)
    show_uploads()
    if get("problem"):
        notices.error(get("problem"))
    if get("left out"):
        notices.info(literal(get("left out")))
    values = chosen_values(listed_hash)
    with starts:
        show_starts(is_example=values == get("first"))
    # The address holds the recipe; that of a fresh page need not be in it.
    write_link({} if values == get("first") else {"recipe": packed(json.dumps(values))})
    try:
        show_figure(recipe_from_json(json.dumps(values)), preview, downloads)
    except OtherFileError as error:
        notices.error(as_sentence(error))
        notices.button("Use the files that are here", on_click=forget_hashes)
    except RecipeError as error:
        notices.error(as_sentence(error))


require_app(PAGE)
show_page()
