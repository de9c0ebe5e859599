"""The Figures page: composing a paper figure, with a live preview, its files and its recipe.

Every choice is an entry of the session, named after its field of the recipe, so that it outlives a change of page.
What is drawn is always the recipe read from these entries.
"""

import dataclasses
import functools
import io
import json
from collections.abc import Sequence

import streamlit as st
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from analysis.capture import CaptureFileError
from analysis.figures import (
    BIBTEX,
    MAX_BYTES,
    Checkpoint,
    Look,
    OtherFileError,
    PlacedPanel,
    Recipe,
    RecipeError,
    Row,
    StreetImage,
    animation_file,
    caption_text,
    figure_file,
    figure_preview,
    has_ffmpeg,
    is_one_scene,
    recipe_from_json,
    recipe_to_json,
    recorded,
    source_differences,
    version_differences,
)
from analysis.lens import figure_preview as preview_parts
from dnl import list_checkpoints
from pages.parts.app.downloads import offer_file, offer_text
from pages.parts.app.entry import require_app
from pages.parts.app.links import opened_link, packed, say_ignored, unpacked, write_link
from pages.parts.app.session import is_figure_asked_for, kept_figure
from pages.parts.app.words import NO_CHECKPOINT, as_clause, as_sentence, literal
from pages.parts.figures.annotations import (
    choose_annotations,
    choose_click,
    chosen_click,
    click_hint,
    click_template,
    clicked,
)
from pages.parts.figures.choices import (
    are_there,
    chosen_checkpoint,
    chosen_models,
    chosen_record,
    chosen_rows,
    chosen_values,
    forget_hashes,
    left_out,
    show_recipe,
    show_rows,
)
from pages.parts.figures.from_pins import pins_of, show_pinned
from pages.parts.figures.kept import entry, get, put
from pages.parts.figures.sources import (
    choose_own_labels,
    choose_own_photos,
    example_scenes,
    heads_in,
    image_choices,
    image_here,
    image_words,
    listed_hash,
    own_options,
    remembered_captures,
    shared_heads,
    with_hashes,
)
from pages.parts.figures.widgets import choose_checkpoint, choose_rows, show_look
from pages.parts.subjects.attention_files import choose_files
from pages.parts.subjects.example import example_file, example_name
from pages.parts.subjects.places import street_name

# Two queries of one street: attention that falls on other classes until GR takes it away, and attention that does not.
DEFAULT_ROWS = (Row(StreetImage(4), (290, 240)), Row(StreetImage(4), (210, 180)))
DEFAULT_COLUMNS = ("photo", "labels", "raw", "rectified", "retained")
PAGE = "figures"
PREVIEW_KEY = "figure preview"
PINS_HELP = (
    "Every pixel that is pinned in the Explorer becomes a row, with the model, gate, LR, temperature and colours that "
    "are chosen there."
)
PREVIEW_DPI = 200
PREVIEW_PIXELS_PER_INCH = 150  # on the screen
FILES = (("PDF", "pdf", 300), ("SVG", "svg", 300), ("PNG, 300 dpi", "png", 300), ("PNG, 600 dpi", "png", 600))
MOTION_WORDS = {"gif": "GIF", "webp": "WebP", "mp4": "MP4"}

preview_component = st.components.v2.component(
    "dnl_figure_preview", html=preview_parts.HTML, css=preview_parts.CSS, js=preview_parts.SCRIPT
)


def default_recipe(model: str) -> Recipe:
    """The example that the page begins with."""
    look = Look(class_outline="true", class_titles=True)
    return Recipe((Checkpoint(model),), DEFAULT_ROWS, DEFAULT_COLUMNS, look=look)


# --- what the buttons do ---------------------------------------------------------------------------------------------


def take_pins() -> None:
    """All pins of the Explorer, in its last view."""
    figure = kept_figure()
    if figure is not None:
        show_pinned(figure, pins_of(figure))


def show_example() -> None:
    """Make every choice that of the example."""
    show_recipe(default_recipe(list_checkpoints()[0]))
    put("problem", None)


def follow_explorer() -> None:
    """Show the pins with which the Explorer sent its user here."""
    figure = kept_figure()
    if is_figure_asked_for() and figure is not None:
        show_pinned(figure, [(figure.image, pixel) for pixel in figure.pixels])


def use_files_here() -> None:
    """Use the files that are here in place of those that an opened recipe was made with."""
    forget_hashes()
    show_rows([dataclasses.replace(row, image=image_here(row.image)) for row in chosen_rows()])


def open_recipe() -> None:
    """Take over an uploaded recipe, or note what is wrong with it."""
    put("problem", None)
    file = st.session_state[entry("recipe file")]
    if file is None:
        return
    try:
        show_recipe(recipe_from_json(file.getvalue()))
    except RecipeError as error:
        put("problem", f"{literal(file.name)} cannot be used: {as_clause(error)}.")


def take_click() -> None:
    """Do what a click on the preview is to do."""
    picked = st.session_state[PREVIEW_KEY].picked
    if picked is not None:
        show_rows(clicked(chosen_rows(), picked, chosen_click(), click_template()))


def follow_link(notices: DeltaGenerator) -> None:
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


def show_starts(*, is_example: bool) -> None:
    """Buttons for what a figure can begin with; is_example: whether it is as it was at first."""
    pins = 0 if kept_figure() is None else len(pins_of(kept_figure()))
    with st.container(horizontal=True):
        words = f"Rows from the Explorer's pins ({pins})"
        st.button(words, icon=":material/push_pin:", on_click=take_pins, disabled=not pins, help=PINS_HELP)
        st.button("Back to the example", icon=":material/undo:", on_click=show_example, disabled=is_example)


def show_uploads(notices: DeltaGenerator) -> None:
    """Uploaders of the user's own images and attention files, and of a recipe."""
    photos, labels, files, recipe = st.columns(4)
    with files:
        try:
            choose_files()
        except CaptureFileError as error:
            notices.error(literal(str(error)))
    with photos:
        choose_own_photos()
    with labels:
        choose_own_labels(chosen_checkpoint(), use_files_here)
    with recipe:
        st.file_uploader("Open a recipe", ["json"], key=entry("recipe file"), on_change=open_recipe)


def say_differences(place: DeltaGenerator, sentences: Sequence[str]) -> None:
    """What is another than when an opened recipe was saved, if anything."""
    if sentences:
        place.info("\n".join(f"- {literal(sentence)}" for sentence in sentences))


def show_preview(content: bytes, panels: Sequence[PlacedPanel], inches: float) -> None:
    """The figure's picture, a PNG file of PREVIEW_DPI, where a click picks a pixel or places an annotation."""
    width, height = Image.open(io.BytesIO(content)).size
    size = f"{width / PREVIEW_DPI:.2f} × {height / PREVIEW_DPI:.2f} inches"
    choose_click()
    preview_component(
        key=PREVIEW_KEY,
        data=preview_parts.preview_data(
            content,
            [panel._asdict() for panel in panels],
            width=round(inches * PREVIEW_PIXELS_PER_INCH),
            words=f"The figure, {size}",
            hint=click_hint(),
        ),
        on_picked_change=take_click,
    )
    st.caption(size)


def show_figure(recipe: Recipe, notices: DeltaGenerator, preview: DeltaGenerator, downloads: DeltaGenerator) -> None:
    """The preview, and the files to keep. Raises RecipeError where the recipe cannot be drawn."""
    opened, place = dataclasses.replace(recipe, record=chosen_record()), notices.empty()
    versions = version_differences(opened)
    say_differences(place, versions)  # also where a file is not the recipe's
    captures, hashes = remembered_captures(recipe)
    say_differences(place, [*versions, *source_differences(opened, captures, hashes)])
    content, panels = figure_preview(recipe, captures, hashes, PREVIEW_DPI)
    with preview:
        show_preview(content, panels, recipe.look.width)
    with downloads, st.container(horizontal=True):
        for words, file_format, dpi in FILES:
            offer_file(
                words,
                f"attention-{dpi}.png" if file_format == "png" else f"attention.{file_format}",
                functools.partial(figure_file, recipe, captures, hashes, file_format, dpi),
                key=entry(f"file {words}"),
            )
        for file_format, words in MOTION_WORDS.items() if is_one_scene(recipe) else ():
            if file_format == "mp4" and not has_ffmpeg():
                continue
            offer_file(
                f"Motion ({words})",
                f"attention.{file_format}",
                functools.partial(animation_file, recipe, captures, hashes, file_format),
                key=entry(f"file {file_format}"),
                icon=":material/animation:",
                help="The maps as the pixel moves from row to row.",
            )
        offer_file(
            "Recipe",
            "recipe.json",
            lambda: recipe_to_json(recorded(recipe, captures, hashes)),
            key=entry("file recipe"),
            icon=":material/receipt_long:",
            help="`python -m analysis.figures recipe.json out.pdf` makes the same file from it, without the app.",
        )
        for scene in example_scenes(recipe):
            offer_file(
                f"Attention file, {street_name(scene)}",
                example_name(scene),
                functools.partial(example_file, scene),
                key=entry(f"file example {scene}"),
                icon=":material/hub:",
                help="What the vision transformer computed; the recipe reads it from its own folder.",
            )
    if is_one_scene(recipe) and not has_ffmpeg():
        downloads.caption("Motion as MP4, too, where the app's machine has the program ffmpeg.")
    with downloads:
        offer_text("A caption to copy", lambda: caption_text(recipe, captures, hashes), key=entry("caption"))
        offer_text("Cite this software and the paper (BibTeX)", lambda: BIBTEX, key=entry("citation"))


def show_page() -> None:
    """The page: what is drawn is the recipe of the choices, read as a file would be."""
    st.title("A figure for the paper")
    starts, notices, preview, downloads = (st.container() for _ in range(4))
    names = list_checkpoints()
    if not names:
        notices.error(NO_CHECKPOINT)
        st.stop()
    if not are_there():
        show_example()
        put("first", chosen_values(listed_hash))
    follow_link(notices)
    follow_explorer()
    with st.sidebar:
        choose_checkpoint(names)
        show_look(own_options(chosen_models()), shared_heads(chosen_rows()))
    st.subheader("Rows")
    choose_rows(names, image_choices(chosen_rows(), notices), image_words, heads_in)
    choose_annotations(len(chosen_rows()))
    show_uploads(notices)
    if get("problem"):
        notices.error(get("problem"))
    if left_out():
        notices.info(literal(left_out()))
    values = with_hashes(chosen_values(listed_hash))
    with starts:
        show_starts(is_example=values == get("first"))
    # The address holds the recipe; that of a fresh page need not be in it.
    write_link({} if values == get("first") else {"recipe": packed(json.dumps(values))})
    try:
        show_figure(recipe_from_json(json.dumps(values)), notices, preview, downloads)
    except OtherFileError as error:
        notices.error(as_sentence(error))
        notices.button("Use the files that are here", on_click=use_files_here)
    except RecipeError as error:
        notices.error(as_sentence(error))


require_app(PAGE)
show_page()
