"""A handful of photos labelled by a model: label images, colours and overlays as one zip file."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from analysis.files.photos import MAX_SIDE, read_photo
from analysis.pins.files import zipped
from dnl.checkpoints import CheckpointError
from dnl.inference import predict
from dnl.predict import Pictures, label_format, prediction_files
from pages.parts.app.downloads import offer_file
from pages.parts.app.uploaders import PHOTO_TYPES, kept_uploads
from pages.parts.app.words import NO_CHECKPOINT, as_clause, as_sentence, literal
from pages.parts.subjects.captures import network_turn
from pages.parts.subjects.models import Model, model_named

MOST_PHOTOS = 12
OVERLAY_WIDTH = 240  # pixels on the page
ABOUT = f"""
Choose a model and photos: each pixel gets a class. The zip file holds `labels/` (class indices, with the
classes' colours as palette), `colours/`, `overlays/` and the names of the classes. A photo whose longer side has more
than {MAX_SIDE} pixels is scaled down to that; `python -m dnl.predict` labels whole folders at full size.
"""


def show_predictions(names: Sequence[str]) -> None:
    """The choices, a button, and what it has made. names: of all models."""
    st.markdown(ABOUT)
    if not names:
        st.error(NO_CHECKPOINT)
        return
    name = st.selectbox("Model", names, key="labelling model", persist_state="session")
    photos = kept_uploads("Photos", PHOTO_TYPES, key="labelling photos", most=MOST_PHOTOS)
    wanted = (name, [(photo, hashlib.sha256(content).hexdigest()) for photo, content in photos])
    if st.button("Label the photos", key="labelling", disabled=not photos, icon=":material/format_paint:"):
        try:
            model = model_named(name)
        except CheckpointError as error:
            st.error(as_sentence(error))
            return
        st.session_state["labelled"] = (wanted, *_labelled(model, photos))
    made_for, files, left_out = st.session_state.get("labelled", (None, {}, []))
    if made_for is None:
        return
    if made_for != wanted:
        st.caption("The files made before are of other photos or another model: press the button for new ones.")
        return
    for sentence in left_out:
        st.error(sentence)
    if files:
        offer_file("Download the zip file", "labels.zip", lambda: zipped(files), key="labelling download")
        overlays = {Path(place).stem: content for place, content in files.items() if place.startswith("overlays/")}
        with st.container(horizontal=True):
            for stem, content in overlays.items():
                st.image(content, literal(stem), width=OVERLAY_WIDTH)


def _labelled(model: Model, photos: Sequence[tuple[str, bytes]]) -> tuple[dict[str, bytes], list[str]]:
    """The files of all photos by their places, and a sentence about each photo that was left out."""
    label_set = model.network.label_set
    pictures = Pictures(label_format("indices", label_set))
    progress = st.progress(0.0, "Running the network …")
    files: dict[str, bytes] = {}
    left_out = []
    for index, (photo, content) in enumerate(photos):
        name = _stem(photo)
        while f"labels/{name}.png" in files:
            name += "-again"
        try:
            image = read_photo(content).image
            with network_turn():
                classes = predict(model.network, image)
        except ValueError as error:
            left_out.append(f"{literal(photo)} was left out: {as_clause(error)}.")
        else:
            files |= prediction_files(name, image, classes, pictures)
        progress.progress((index + 1) / len(photos), f"{index + 1} of {len(photos)} photos")
    progress.empty()
    if files:
        lines = [f"{index}\t{name}\n" for index, name in enumerate(label_set.class_names)]
        files["classes.txt"] = "".join(lines).encode()
    return files, left_out


def _stem(file_name: str) -> str:
    """A file's name without its ending, as it may stand in a zip file anywhere."""
    return re.sub(r"[^\w ()-]", "-", Path(file_name).stem).strip()[:100] or "photo"
