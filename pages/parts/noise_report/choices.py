"""What the Noise report measures: checkpoints, images and options, chosen in the sidebar."""

import os
from dataclasses import dataclass
from pathlib import PurePath

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dnl import list_checkpoints
from dnl.checkpoints import CheckpointError
from dnl.classes import LabelSet
from dnl.datasets import Streets
from pages.parts.app.uploaders import LABEL_TYPES, PHOTO_TYPES, kept_uploads
from pages.parts.app.words import NO_CHECKPOINT, as_clause, literal
from pages.parts.noise_report import entries
from pages.parts.subjects.models import Model, chosen_model, model_with_attention
from pages.parts.subjects.pictures import camvid_splits, choose_coding, choose_picture
from pages.parts.subjects.places import (
    CAMVID_FOLDER,
    STREETS,
    UPLOAD,
    CamVidPlace,
    Place,
    StreetPlace,
    UploadPlace,
    street_name,
)

ONE, SEVERAL = "One image", "Several"
# Of a user's own, measured together.
MOST_PHOTOS = 100
LABEL_CHOICES = {"truth": "Ground truth", "prediction": "Prediction"}
# What `map_options` calls the user's choices, in words.
GATE_CHOICES = {
    None: "the model's own",
    "off": "off",
    "sigmoid": "sigmoid (the authors' code)",
    "binary": "binary (the paper's words)",
    "similarity": "similarity",
}
RETENTION_CHOICES = {
    None: "the model's own",
    "off": "off",
    "learnt": "learnt weights",
    "box": "constant box (a control)",
}

# What can be painted: METRICS of `analysis.noise` that say where the noise is.
PAINTED = ("interclass_noise", "intraclass_noise", "hollow_fraction", "kept_mass", "interclass_mass", "effective_keys")


@dataclass(frozen=True)
class Job:
    """What is to be measured. choices: "gate" and "retention" for `map_options`. labels: a key of LABEL_CHOICES."""

    models: tuple[str, ...]
    places: tuple[Place, ...]
    choices: dict[str, str | None]
    labels: str


def choose_job(notices: DeltaGenerator) -> Job | None:
    """The sidebar's widgets; says in `notices` what cannot be used. None where something is still to be chosen."""
    models = _choose_models(notices)
    if not models:
        return None
    places = _choose_places(next(iter(models.values())).network.label_set, notices)
    st.session_state.setdefault(entries.LABELS, "truth")
    labels = st.segmented_control(
        "Measured against",
        list(LABEL_CHOICES),
        format_func=LABEL_CHOICES.get,
        required=True,
        key=entries.LABELS,
        persist_state="session",
        help="The prediction always stands in where an image has no labels. It flatters the model, and is marked.",
    )
    with st.expander("Gate and LR"):
        gate = st.selectbox(
            "Gate (GR)", GATE_CHOICES, format_func=GATE_CHOICES.get, key=entries.GATE, persist_state="session"
        )
        retention = st.selectbox(
            "Retention (LR)",
            RETENTION_CHOICES,
            format_func=RETENTION_CHOICES.get,
            key=entries.RETENTION,
            persist_state="session",
        )
    if not places:
        notices.info("Choose at least one image in the sidebar.")
        return None
    return Job(tuple(models), tuple(places), {"gate": gate, "retention": retention}, labels)


def _choose_models(notices: DeltaGenerator) -> dict[str, Model]:
    names = list_checkpoints()
    if not names:
        notices.error(NO_CHECKPOINT)
        return {}
    current = chosen_model()
    st.session_state.setdefault(entries.MODELS, [current if current in names else names[0]])
    chosen = st.multiselect(
        "Checkpoints",
        names,
        key=entries.MODELS,
        persist_state="session",
        help="Several are measured on the same images and compared.",
    )
    found = {}
    for name in chosen:
        try:
            found[name] = model_with_attention(name)
        except CheckpointError as error:
            notices.error(f"{literal(name)} cannot be measured: {as_clause(error)}.")
    if not found:
        notices.info("Choose a checkpoint with attention in the sidebar.")
    return found


def _choose_places(label_set: LabelSet, notices: DeltaGenerator) -> list[Place]:
    st.session_state.setdefault(entries.COUNT, ONE)
    count = st.segmented_control(
        "Images",
        [ONE, SEVERAL],
        required=True,
        key=entries.COUNT,
        persist_state="session",
    )
    if count == ONE:
        return [choose_picture(label_set, notices).place]
    sources = [STREETS, UPLOAD, *([CAMVID_FOLDER] if os.environ.get("DNL_DATA") else [])]
    source = st.selectbox("From", sources, key=entries.SOURCE, persist_state="session")
    if source == UPLOAD:
        return _choose_uploads(label_set)
    if source == CAMVID_FOLDER:
        return _choose_camvid_files(notices)
    st.session_state.setdefault(entries.SCENES, [0, 1, 2])
    scenes = st.multiselect(
        "Scenes",
        range(len(Streets("gallery"))),
        format_func=street_name,
        key=entries.SCENES,
        persist_state="session",
    )
    return [StreetPlace(scene) for scene in sorted(scenes)]


def _choose_uploads(label_set: LabelSet) -> list[Place]:
    photos = kept_uploads("Photos", PHOTO_TYPES, key="noise photos", most=MOST_PHOTOS)
    labels = kept_uploads(
        "Labels (optional)",
        LABEL_TYPES,
        key="noise photo labels",
        most=MOST_PHOTOS,
        help="Label images, each named like its photo.",
    )
    coding = choose_coding(label_set, key=entries.CODING) if labels else None
    by_stem = {PurePath(name).stem: (name, content) for name, content in labels}
    return [UploadPlace((name, content), by_stem.get(PurePath(name).stem), coding) for name, content in photos]


def _choose_camvid_files(notices: DeltaGenerator) -> list[Place]:
    splits = camvid_splits(notices)
    if not splits:
        return []
    split = st.selectbox("Split", list(splits), key=entries.SPLIT, persist_state="session")
    if split == "train":
        st.caption("Networks trained on CamVid, the shipped ones among them, have learnt from these very images.")
    if split == "val":
        st.caption("One clip of 6.7 seconds of a street that training saw; the shipped networks were chosen on it.")
    files = splits[split].files
    st.session_state.setdefault(entries.files_of(split), list(range(min(3, len(files)))))
    chosen = st.multiselect(
        "Files",
        range(len(files)),
        format_func=lambda index: files[index].stem,
        key=entries.files_of(split),
        persist_state="session",
    )
    return [CamVidPlace(split, index) for index in sorted(chosen)]
