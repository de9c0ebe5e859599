"""The Explorer's files to keep: the lens itself, figures, tables, maps, a caption, and several images at once."""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from analysis.capture import Capture
from analysis.figures import Scale
from analysis.lens import chosen_pixels, known_choices, map_options, standalone_html
from analysis.pins.files import options_of, pins_caption, pins_csv, pins_figure, pins_json, pins_npz, provenance, zipped
from analysis.pins.measured import PinnedPixels, measure_pins, same_place
from dnl.datasets import Streets
from pages.parts.app.downloads import offer_file, offer_text
from pages.parts.app.session import ask_for_figure
from pages.parts.app.uploaders import PHOTO_TYPES, kept_uploads
from pages.parts.app.words import as_clause, literal
from pages.parts.subjects.captures import captured
from pages.parts.subjects.models import Model
from pages.parts.subjects.pictures import picture_at
from pages.parts.subjects.places import STREETS, StreetPlace, UploadPlace, street_name

SAME_PLACES, OWN_PIXEL = "the pins, at the same places", "an example pixel of each image"
OTHER_BATCH = "The zip file made before belongs to other choices: make the files again, or go back to those choices."


def show_exports(
    views: Sequence[PinnedPixels], payload: bytes, scale: Scale, colormap: str, *, for_paper: bool
) -> None:
    """Download buttons; every file is made when its button is pressed. payload: the lens's buffer as it is now.

    for_paper: whether the Figures page can show this view.
    """
    st.subheader("Take it with you")
    st.caption("Each file says what it was made of: checkpoint and its SHA-256, image, options and version.")
    stem = file_stem(views[0].capture)
    figure = functools.partial(pins_figure, views, scale, colormap)
    with st.container(horizontal=True):
        _offer("Lens (HTML)", f"lens-{stem}.html", lambda: lens_file(views, payload), help=LENS_HELP)
        for file_format in ("pdf", "svg", "png"):
            name = f"attention-{stem}.{file_format}"
            _offer(f"Figure ({file_format.upper()})", name, functools.partial(figure, file_format))
        _offer("Figures (CSV)", f"pins-{stem}.csv", lambda: pins_csv(views))
        _offer("Figures (JSON)", f"pins-{stem}.json", lambda: pins_json(views))
        _offer("Maps (NPZ)", f"maps-{stem}.npz", lambda: pins_npz(views), help=NPZ_HELP)
    offer_text("A caption to copy", lambda: pins_caption(views, scale), key="caption to copy")
    words = "Lay out a figure for the paper from these pins"
    help = PAPER_HELP if for_paper else NO_PAPER_HELP
    if st.button(words, key="to figures", icon=":material/table_view:", disabled=not for_paper, help=help):
        ask_for_figure()
        st.switch_page("pages/figures.py")


PAPER_HELP = "The Figures page opens with these pins as rows, and with the gate, LR, temperature and colours of here."
NO_PAPER_HELP = (
    "The Figures page draws the listed checkpoints on built-in images and on your photos: not attention from a file, "
    "and not a checkpoint that you opened in the app."
)
LENS_HELP = "The lens as one file: it opens from disk, in any browser, without network or server."
NPZ_HELP = "The raw, rectified and retained map of every pin, labels and prediction, for NumPy."


def _offer(label: str, name: str, make: Callable[[], str | bytes], help: str | None = None) -> None:
    offer_file(label, name, make, key=f"export {label}", help=help)


def lens_file(views: Sequence[PinnedPixels], payload: bytes) -> bytes:
    """The lens as a page of its own."""
    facts = provenance(views)
    words = {"image": f"{facts['images'][0]['name']} (SHA-256 of its pixels {facts['images'][0]['sha256']})"}
    for source in facts["sources"]:
        kind = source["kind"] if source["kind"] not in words else f"compared {source['kind']}"
        words[kind] = f"{source['name']} (SHA-256 {source['sha256']})"
    words["options"] = "; ".join(
        ", ".join(f"{name} {'none' if value is None else value}" for name, value in options_of(view).items())
        for view in views
    )
    words["version"] = f"denoised-nl {facts['version']}"
    return standalone_html(payload, title=f"Attention in {views[0].capture.name}", provenance=words)


def file_stem(capture: Capture) -> str:
    """The image's name as the part of a file name: ASCII letters, digits and hyphens."""
    letters = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in capture.name.lower())
    return "-".join(filter(None, letters.split("-")))[:60] or "image"


# --- several images --------------------------------------------------------------------------------------------------


def show_batch(
    models: Sequence[Model], views: Sequence[PinnedPixels], choices: Mapping | None, scale: Scale, colormap: str
) -> None:
    """The same figures of several images, as one zip file."""
    expander = st.expander("Several images at once", icon=":material/burst_mode:", key="batch open", on_change="rerun")
    if not expander.open:
        return
    with expander:
        st.markdown("The figure (PDF) of every image, and all numbers in one CSV, as one zip file.")
        source = st.segmented_control(
            "Images",
            [STREETS, "Your photos"],
            default=STREETS,
            required=True,
            key="batch source",
            persist_state="session",
        )
        if source == STREETS:
            scenes = range(len(Streets("gallery")))
            chosen = st.multiselect(
                "Streets",
                scenes,
                default=scenes,
                format_func=street_name,
                key="batch scenes",
                persist_state="session",
            )
            places: list[StreetPlace | UploadPlace] = [StreetPlace(scene) for scene in sorted(chosen)]
        else:
            places = [UploadPlace(photo) for photo in kept_uploads("Photos", PHOTO_TYPES, key="batch photos")]
        which = st.radio(
            "Pixels", [SAME_PLACES, OWN_PIXEL], key="batch pixels", horizontal=True, persist_state="session"
        )
        pins = views[0] if which == SAME_PLACES else None
        wanted = batch_facts(models, places, pins, choices, scale, colormap)
        if st.button("Make the files", key="batch make", disabled=not places, icon=":material/burst_mode:"):
            made, left_out = _batch(models, places, pins, choices, scale, colormap)
            st.session_state["batch left out"] = (wanted, left_out)
            if made is not None:
                st.session_state["batch file"] = (wanted, made)
        tried, left_out = st.session_state.get("batch left out", (None, []))
        for sentence in left_out if tried == wanted else []:
            st.error(sentence)
        made_for, content = st.session_state.get("batch file", (None, None))
        if made_for == wanted:
            offer_file("Download the zip file", "attention.zip", lambda: content, key="batch download")
        elif made_for is not None:
            st.caption(OTHER_BATCH)


def batch_facts(
    models: Sequence[Model],
    places: Sequence[StreetPlace | UploadPlace],
    pins: PinnedPixels | None,
    choices: Mapping | None,
    scale: Scale,
    colormap: str,
) -> tuple:
    """All that a batch's files depend on, to tell whether files made before are those that are asked for now."""
    images = [
        (place.photo[0], hashlib.sha256(place.photo[1]).hexdigest()) if isinstance(place, UploadPlace) else place
        for place in places
    ]
    pixels = None if pins is None else (pins.pixels, pins.capture.image_size)
    return [model.source for model in models], images, pixels, known_choices(choices), scale, colormap


def _batch(
    models: Sequence[Model],
    places: Sequence[StreetPlace | UploadPlace],
    pins: PinnedPixels | None,
    choices: Mapping | None,
    scale: Scale,
    colormap: str,
) -> tuple[bytes | None, list[str]]:
    """The zip file, None where no image could be used; and a sentence about each image that could not."""
    progress = st.progress(0.0, "Running the network …")
    files, all_views, left_out = {}, [], []
    for index, place in enumerate(places):
        try:
            views = batch_views(models, place, pins, choices)
            name = file_stem(views[0].capture)
            while f"{name}.pdf" in files:
                name += "-again"
            files[f"{name}.pdf"] = pins_figure(views, scale, colormap, "pdf")
            all_views += views
        except ValueError as error:
            left_out.append(f"{literal(_name_of(place))} was left out: {as_clause(error)}.")
        progress.progress((index + 1) / len(places), f"{index + 1} of {len(places)} images")
    progress.empty()
    if not all_views:
        return None, left_out
    files["pins.csv"] = pins_csv(all_views).encode()
    files["provenance.json"] = pins_json(all_views).encode()
    return zipped(files), left_out


def _name_of(place: StreetPlace | UploadPlace) -> str:
    return place.photo[0] if isinstance(place, UploadPlace) else street_name(place.scene)


def batch_views(
    models: Sequence[Model], place: StreetPlace | UploadPlace, pins: PinnedPixels | None, choices: Mapping | None
) -> list[PinnedPixels]:
    """One image of a batch as each model sees it. pins: whose relative places to take; None: the starting pixel."""
    picture = picture_at(place, models[0].network.label_set)
    captures = [captured(model, picture)[0] for model in models]
    if pins is None:
        pixels = chosen_pixels(captures[0], None)
    else:
        size = pins.capture.image.shape[:2]
        pixels = [same_place(pixel, size, picture.image.shape[:2]) for pixel in pins.pixels]
    return [
        measure_pins(capture, pixels, map_options(capture, choices), model.source)
        for model, capture in zip(models, captures, strict=True)
    ]
