"""The Explorer: one image, the live lens, the pinned pixels and their numbers."""

import streamlit as st

from analysis.capture import Capture
from analysis.card.health import Health
from analysis.figures.recipe import Scale
from analysis.lens import CSS, HTML, SCRIPT, asking_for, chosen_pixels, image_id, known_look, known_pins, map_options
from analysis.pins.measured import measure_pins
from pages.parts.app.entry import require_app, visit
from pages.parts.app.links import opened_link, say_ignored, show_link, write_link
from pages.parts.app.words import as_sentence, literal
from pages.parts.explorer.attention_files import choose_attention_file
from pages.parts.explorer.exports import show_batch, show_exports
from pages.parts.explorer.link import FIRST_LOOK, follow, view_parameters
from pages.parts.explorer.pins import show_pins
from pages.parts.figures.from_pins import keep_figure, pinned_figure
from pages.parts.subjects.pictures import (
    Model,
    captured,
    choose_model,
    choose_other_model,
    choose_picture,
    choose_source,
    compared,
    say_health,
    street_picture,
)

PAGE = "explorer"
ATTENTION_FILE = "Attention file"
REPORTS = ("pins", "choices", "look")
HINT = "Attention lets it gather from all others: see from where, before and after denoising, and how noisy that is."
FILE_HEALTH = Health(
    "unknown",
    "A file does not say what its attention is worth to its network: that takes running the network with and without "
    "it.",
)

lens = st.components.v2.component("dnl_lens", html=HTML, css=CSS, js=SCRIPT)


# --- what the lens is asked and what it reports ----------------------------------------------------------------------


def kept(name: str):
    """The lens's pins, choices or look as last reported: its own state is lost on a change of page, this is not."""
    return st.session_state.get(f"lens {name}")


def keep(key: str) -> None:
    """Called when the lens has reported something."""
    reported = st.session_state[key]
    for name in REPORTS:
        if reported.get(name) is not None:
            st.session_state[f"lens {name}"] = reported[name]


def follow_link(notices) -> None:
    """Take over what an opened address, or another page, wants shown here, before the widgets are there."""
    wanted = st.session_state.pop("explorer link", None)
    for name, value in (wanted or {}).items():
        st.session_state[name] = value
    address = opened_link()
    if address is not None:
        say_ignored(notices, follow(address))
        visit(anew=True)


def take_link_pins(capture: Capture, notices) -> None:
    """The pins that a link has for the image that is now known."""
    pixels = st.session_state.pop("link pins", None)
    if pixels is None:
        return
    height, width = capture.image.shape[:2]
    inside = [[y, x] for y, x in pixels if y < height and x < width]
    say_ignored(notices, [f"pin {y}.{x}" for y, x in pixels if not (y < height and x < width)])
    st.session_state["lens pins"] = {**(kept("pins") or {}), image_id(capture): inside}


def with_request(payload: bytes, image: str) -> bytes:
    """The buffer with what the lens shall show when an image is first seen in a visit.

    The request stays as long as the image is shown, so that the buffer's bytes stay; on a return to the image the
    lens remembers by itself.
    """
    place = (visit(), image)
    now = st.session_state.get("lens request now")
    if now is None or now["place"] != place:
        asked = st.session_state.setdefault("lens asked", set())
        wanted = {"pins": known_pins(kept("pins")).get(image), "choices": kept("choices"), "look": kept("look")}
        request = {} if place in asked else {name: value for name, value in wanted.items() if value is not None}
        asked.add(place)
        now = st.session_state["lens request now"] = {"place": place, "request": request}
    return asking_for(payload, {"id": f"{place[0]} {image}", **now["request"]}) if now["request"] else payload


def scale_of(look) -> tuple[Scale, str]:
    """The lens's colour scale and colormap, as figures know them."""
    look = FIRST_LOOK | known_look(look)
    kind = {"share": "uniform", "log": "log", "weight": "shared"}[look["scale"]]
    colormap = "gray" if look["colormap"] == "greys" else look["colormap"]
    return Scale("map" if look["range"] == "each" else kind, float(look["clip"])), colormap


# --- the page --------------------------------------------------------------------------------------------------------


def show_health(models: list[Model]) -> None:
    st.subheader("Is this attention alive?")
    for model in models:
        if len(models) > 1:
            st.markdown(f"**{literal(model.name)}**")
        say_health(model.health)
    if not models:
        say_health(FILE_HEALTH)


def show_address(parameters: dict[str, str]) -> None:
    with st.popover("Link to this view", icon=":material/link:"):
        if "image" not in parameters:
            st.markdown(
                "A link cannot carry your own file, which stays in your session: it holds the model and the choices "
                "alone. To hand on what you see, save the lens as HTML below."
            )
        else:
            st.markdown("It opens this image and model, the pins, the choices and the colours. The address bar has it.")
        show_link(parameters)


def show_page() -> None:
    words, beside = st.columns([2, 1], vertical_alignment="center")
    address = beside.container(horizontal=True, horizontal_alignment="right")
    with words:
        st.title("Where does one pixel look?")
        st.caption(HINT)
    notices = st.container()  # not in the sidebar, which is folded away on a phone
    follow_link(notices)
    with st.sidebar:
        above = st.container()  # the models stand above the image, though a file needs none
        source = choose_source(ATTENTION_FILE)
        brought = choose_attention_file(notices) if source == ATTENTION_FILE else None
        if brought is not None:
            models, place = [], {}
            above.caption("The file brings its own attention: no model is run.")
            captures, payload = [brought.capture], brought.payload
            sources = [brought.source]
        else:
            with above:
                model = choose_model(notices)
                if model is None:
                    st.stop()
                other = choose_other_model(model, notices)
            label_set = model.network.label_set
            first = source == ATTENTION_FILE
            picture = street_picture(0, label_set) if first else choose_picture(label_set, notices, source)
            models, place = [model, *([other] if other else [])], picture.place
            try:
                captures, payload = show_picture(models, picture)
            except ValueError as error:
                notices.error(f"{as_sentence(error)} Choose another model or image.")
                st.stop()
            sources = [model.source for model in models]
    image = image_id(captures[0])
    take_link_pins(captures[0], notices)
    key = f"lens {visit()}"
    lens(
        key=key,
        data=with_request(payload, image),
        **{f"on_{name}_change": lambda: keep(key) for name in REPORTS},
    )
    pixels = chosen_pixels(captures[0], kept("pins"))
    pinned = bool(known_pins(kept("pins")).get(image))
    parameters = view_parameters(
        place,
        models[0].name if models else None,
        models[1].name if len(models) > 1 else None,
        pixels if pinned else [],
        kept("choices"),
        kept("look"),
    )
    write_link(parameters)
    with address:
        show_address(parameters)
    views = [
        measure_pins(capture, pixels, map_options(capture, kept("choices")), source)
        for capture, source in zip(captures, sources, strict=True)
    ]
    scale, colormap = scale_of(kept("look"))
    outlined = (FIRST_LOOK | known_look(kept("look")))["outline"]
    figure = pinned_figure(views, place, scale, colormap, outlined=outlined)
    keep_figure(figure)
    show_pins(views, scale, colormap, pinned=pinned)
    files, health = st.columns([3, 2], gap="large")
    with files:
        now = {"pins": pixels if pinned else [], "choices": kept("choices") or {}, "look": kept("look") or {}}
        file = asking_for(payload, {"id": "file", **now})
        show_exports(views, file, scale, colormap, for_paper=figure is not None)
        if models:
            show_batch(models, views, kept("choices"), scale, colormap)
    with health:
        show_health(models)


def show_picture(models: list[Model], picture) -> tuple[list[Capture], bytes]:
    """The captures of each model, and the lens's buffer of all."""
    found = [captured(model, picture) for model in models]
    payload = found[0][1] if len(models) == 1 else compared(*models, picture)
    return [capture for capture, _ in found], payload


require_app(PAGE)
show_page()
