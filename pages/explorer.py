"""The Explorer: one image, the live lens, the pinned pixels and their numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis.capture import Capture
from analysis.card import Health
from analysis.figures import ImageSource, Scale
from analysis.lens import (
    CSS,
    HTML,
    PRESENT_HTML,
    SCRIPT,
    active_pin,
    asking_for,
    chosen_pixels,
    first_pixel,
    image_id,
    known_look,
    known_pins,
    map_options,
)
from analysis.options import MapOptions
from analysis.pins.measured import PinnedPixels, Source, measure_pins, measure_queries
from pages.parts.app.entry import require_app
from pages.parts.app.links import offer_link, opened_link, say_ignored, write_link
from pages.parts.app.session import (
    LENS_ENTRIES,
    keep_figure,
    keep_lens_report,
    lens_key,
    lens_report,
    view_asked_for,
    visit,
)
from pages.parts.app.words import as_sentence, literal
from pages.parts.explorer.arrival import lens_comes_first
from pages.parts.explorer.attention_files import choose_attention_file, choose_example_attention
from pages.parts.explorer.exports import show_batch, show_exports
from pages.parts.explorer.link import FIRST_LOOK, follow, link_pins, view_parameters
from pages.parts.explorer.pins import show_pins
from pages.parts.explorer.presenting import is_presenting, offer_presenting, show_stage
from pages.parts.figures.from_pins import pinned_figure
from pages.parts.subjects.captures import PinnedView, captured, compared
from pages.parts.subjects.models import (
    Model,
    choose_model,
    choose_other_model,
    say_health,
    show_model,
)
from pages.parts.subjects.pictures import (
    Picture,
    choose_picture,
    choose_source,
    show_place,
    show_source,
    street_picture,
)
from pages.parts.subjects.places import Place

PAGE = "explorer"
ATTENTION_FILE = "Attention file"
EXAMPLE = "A vision transformer"
EXAMPLE_HELP = "An example of another network, with every head of its five layers."
HINT = "Attention lets it gather from all others: see from where, before and after denoising, and how noisy that is."
UNUSED = "link parts unused"
LINK_WORDS = "It opens this image and model, the pins, the choices and the colours. The address bar has it."
LINK_WORDS_WITHOUT_IMAGE = (
    "A link cannot carry your own file, which stays in your session: it holds the model and the choices alone. To hand "
    "on what you see, save the lens as HTML below."
)
FILE_HEALTH = Health(
    "unknown",
    "A file does not say what its attention is worth to its network: that takes running the network with and without "
    "it.",
)

lens = st.components.v2.component("dnl_lens", html=HTML, css=CSS, js=SCRIPT)
large_lens = st.components.v2.component("dnl_lens_present", html=PRESENT_HTML, css=CSS, js=SCRIPT)


# --- what the lens is asked and what it reports ----------------------------------------------------------------------


def keep(key: str) -> None:
    """Called when the lens has reported something."""
    reported = st.session_state[key]
    for name in LENS_ENTRIES:
        if reported.get(name) is not None:
            keep_lens_report(name, reported[name])


def follow_link(notices: DeltaGenerator) -> None:
    """Take over what an opened address, or another page, wants shown here, before the widgets are there."""
    view = view_asked_for()
    if view is not None:
        take_view(view)
    address = opened_link()
    if address is not None:
        say_unused(notices, follow(address))
        visit(anew=True)


def say_unused(notices: DeltaGenerator, parts: list[str]) -> None:
    """Say which parts of a link cannot be used; a run that sends the lens alone has the next one say it too."""
    say_ignored(notices, parts)
    st.session_state.setdefault(UNUSED, []).append(parts)


def take_view(view: PinnedView) -> None:
    """Show a view that another page has asked for."""
    show_place(view.place)
    show_model(view.model)
    keep_lens_report("pins", {**(lens_report("pins") or {}), view.image: [list(view.pixel)]})
    keep_lens_report("choices", view.choices)


def take_link_pins(capture: Capture, notices: DeltaGenerator) -> None:
    """The pins that a link has for the image that is now known."""
    pixels, active = link_pins()
    if pixels is None:
        return
    height, width = capture.image.shape[:2]
    inside = [[y, x] for y, x in pixels if y < height and x < width]
    say_unused(notices, [f"pin {y}.{x}" for y, x in pixels if not (y < height and x < width)])
    image = image_id(capture)
    keep_lens_report("pins", {**(lens_report("pins") or {}), image: inside})
    shown = inside.index(list(pixels[active])) if active < len(pixels) and list(pixels[active]) in inside else 0
    keep_lens_report("active", {**(lens_report("active") or {}), image: shown})


def with_request(payload: bytes, image: str) -> bytes:
    """The buffer with what the lens shall show when an image is first seen in a visit.

    The request stays as long as the image is shown, so that the buffer's bytes stay; on a return to the image the
    lens remembers by itself.
    """
    place = (visit(), image)
    now = st.session_state.get("lens request now")
    if now is None or now["place"] != place:
        asked = st.session_state.setdefault("lens asked", set())
        wanted = {name: lens_report(name) for name in LENS_ENTRIES}
        wanted["pins"] = known_pins(wanted["pins"]).get(image)
        wanted["active"] = active_pin(wanted["active"], image, len(wanted["pins"] or [])) or None  # the first as a rule
        wanted["map"] = (wanted.pop("maps") or {}).get(image)
        request = {} if place in asked else {name: value for name, value in wanted.items() if value is not None}
        asked.add(place)
        now = st.session_state["lens request now"] = {"place": place, "request": request}
    return asking_for(payload, {"id": f"{place[0]} {image}", **now["request"]}) if now["request"] else payload


def scale_of(look: Mapping | None) -> tuple[Scale, str]:
    """The lens's colour scale and colormap, as figures know them."""
    look = FIRST_LOOK | known_look(look)
    kind = {"share": "uniform", "log": "log", "weight": "shared"}[look["scale"]]
    colormap = "gray" if look["colormap"] == "greys" else look["colormap"]
    own = look["range"] != "shared"
    return Scale("map" if own else kind, float(look["clip"]), from_lowest=look["range"] == "own"), colormap


# --- what is shown ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """What the lens shows of one image: a capture of each model, or of a file, the lens's buffer of all, their sources.

    place: where the image comes from; None for a file, and `models` is empty then. images: how a figure's recipe names
    what comes from files; None for what it cannot name.
    """

    models: list[Model]
    place: Place | None
    captures: list[Capture]
    payload: bytes
    sources: list[Source]
    images: Sequence[ImageSource | None] = ()


def choose_shown(notices: DeltaGenerator) -> Shown:
    """The widgets in the sidebar and what is chosen with them; the page ends here, with words, where it has nothing."""
    above = st.container()  # the models stand above the image, though a file needs none
    source = choose_source(ATTENTION_FILE, EXAMPLE)
    if source == EXAMPLE:
        brought = choose_example_attention(notices)
    else:
        brought = choose_attention_file(notices) if source == ATTENTION_FILE else None
    if brought is not None:
        if source == ATTENTION_FILE:
            above.caption("The file brings its own attention: no model is run.")
        return Shown([], None, brought.captures, brought.payload, brought.sources, brought.images)
    with above:
        model = choose_model(notices)
        if model is None:
            st.stop()
        other = choose_other_model(model, notices)
    label_set = model.network.label_set
    picture = street_picture(0, label_set) if source == ATTENTION_FILE else choose_picture(label_set, notices, source)
    st.button(EXAMPLE, icon=":material/hub:", on_click=show_source, args=[EXAMPLE], help=EXAMPLE_HELP)
    models = [model, *([other] if other else [])]
    try:
        captures, payload = captured_by_all(models, picture)
    except ValueError as error:
        notices.error(f"{as_sentence(error)} Choose another model or image.")
        st.stop()
    return Shown(models, picture.place, captures, payload, [model.source for model in models])


def captured_by_all(models: list[Model], picture: Picture) -> tuple[list[Capture], bytes]:
    """The captures of each model, and the lens's buffer of all."""
    found = [captured(model, picture) for model in models]
    payload = found[0][1] if len(models) == 1 else compared(*models, picture)
    return [capture for capture, _ in found], payload


# --- the page --------------------------------------------------------------------------------------------------------


def show_health(models: list[Model]) -> None:
    """What the attention of each model is worth to it; of a file, that this is not known."""
    st.subheader("Is this attention alive?")
    for model in models:
        if len(models) > 1:
            st.markdown(f"**{literal(model.name)}**")
        say_health(model.health, model.name)
    if not models:
        say_health(FILE_HEALTH)


def show_title() -> DeltaGenerator:
    """The title, and the place beside it."""
    words, beside = st.columns([2, 1], vertical_alignment="center")
    with words:
        st.title("Where does one pixel look?")
        st.caption(HINT)
    return beside.container(horizontal=True, horizontal_alignment="right")


def show_lens(payload: bytes, image: str) -> None:
    """The lens on a buffer. image: the `image_id` of what it holds."""
    key = lens_key()
    shown = large_lens if is_presenting() else lens
    shown(
        key=key,
        data=with_request(payload, image),
        **{f"on_{name}_change": lambda: keep(key) for name in LENS_ENTRIES},
    )


def show_figures(shown: Shown, views: list[PinnedPixels], pixels: list[tuple[int, int]], *, pinned: bool) -> None:
    """What stands below the lens. views: `pixels` measured, one a source; pinned: whether the user has chosen them."""
    choices, look = lens_report("choices"), lens_report("look")
    scale, colormap = scale_of(look)
    outlined = (FIRST_LOOK | known_look(look))["outline"]
    figure = pinned_figure(views, shown.place, scale, colormap, outlined=outlined, files=shown.images)
    keep_figure(figure)
    show_pins(views, scale, colormap, pinned=pinned)
    files, health = st.columns([3, 2], gap="large")
    with files:
        active = active_pin(lens_report("active"), image_id(shown.captures[0]), len(pixels))
        now = {"pins": pixels if pinned else [], "active": active, "choices": choices or {}, "look": look or {}}
        now["map"] = (lens_report("maps") or {}).get(image_id(shown.captures[0]))
        file = asking_for(shown.payload, {"id": "file", **now})
        show_exports(views, file, scale, colormap, for_paper=figure is not None)
        if shown.models:
            show_batch(shown.models, views, choices, scale, colormap)
    with health:
        show_health(shown.models)


def measured(capture: Capture, places: list[tuple[int, int]], options: MapOptions, source: Source) -> PinnedPixels:
    """The pins measured. places: as `chosen_pixels` gives them, pixels or the numbers of queries without a place."""
    if capture.query_names is None:
        return measure_pins(capture, places, options, source)
    return measure_queries(capture, [number for _, number in places], options, source)


def show_page() -> None:
    """The page, from its title down; the lens alone where it is presented."""
    head = st.container()
    notices = st.container()  # not in the sidebar, which is folded away on a phone
    for parts in st.session_state.pop(UNUSED, []):
        say_ignored(notices, parts)
    follow_link(notices)
    if is_presenting():
        show_stage()
    else:
        with head:
            beside = show_title()
    with st.sidebar:
        shown = choose_shown(notices)
    image = image_id(shown.captures[0])
    take_link_pins(shown.captures[0], notices)
    show_lens(shown.payload, image)
    pins, choices = lens_report("pins"), lens_report("choices")
    pixels = chosen_pixels(shown.captures[0], pins, first_pixel(shown.payload))
    pinned = bool(known_pins(pins).get(image))
    names = [model.name for model in shown.models]
    active = active_pin(lens_report("active"), image, len(pixels))
    parameters = view_parameters(shown.place, names, pixels if pinned else [], choices, lens_report("look"), active)
    parameters |= {"present": "1"} if is_presenting() else {}
    write_link(parameters)
    if is_presenting():
        return
    with beside:  # at once: on a phone this stands above the lens, which must not move
        offer_presenting()
        # A fragment stands in a block of its own, which ends at the lens's right edge.
        offer_link(LINK_WORDS if "image" in parameters else LINK_WORDS_WITHOUT_IMAGE, parameters, width="stretch")
    if lens_comes_first():
        return
    st.session_state.pop(UNUSED, None)
    views = [
        measured(capture, pixels, map_options(capture, choices), source)
        for capture, source in zip(shown.captures, shown.sources, strict=True)
    ]
    show_figures(shown, views, pixels, pinned=pinned)


require_app(PAGE)
show_page()
