"""The example of another network: a small vision transformer, run on a built-in street."""

import hashlib
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from analysis import watch
from analysis.capture import Layers, save_layers
from analysis.examples import FILE, read_card, vision_transformer
from dnl.classes import CAMVID
from dnl.datasets import Streets
from dnl.transforms import normalise
from pages.parts.app.words import literal
from pages.parts.subjects.pictures import choose_street, street_picture

NAME = "vision transformer"
ATTENTION = "blocks.*.attn"


@st.cache_data(max_entries=1)
def example_hash() -> str:
    """SHA-256 of the example's file, in hexadecimal."""
    return hashlib.sha256(FILE.read_bytes()).hexdigest()


@st.cache_resource(max_entries=4, show_spinner="Running the vision transformer …")
def example_layers(scene: int) -> Layers:
    """What all heads of the example compute on a street, by its number from 0; the same for everybody."""
    street = street_picture(scene, CAMVID)
    model = vision_transformer().requires_grad_(False)
    with watch(model, ATTENTION) as watched:
        model(normalise(street.image)[None])
    return watched.layers(image=street.image, labels=street.labels, label_set=CAMVID, name=street.name)


def example_name(scene: int) -> str:
    """What the example's attention file of a street is called, by its number from 0."""
    return f"vision-transformer-street-{scene + 1}.npz"


def example_scene(name: str) -> int | None:
    """The street of an example's attention file, by its name; None for other names."""
    found = re.fullmatch(r"vision-transformer-street-([0-9]{1,4})\.npz", name)
    scene = int(found[1]) - 1 if found else -1
    return scene if 0 <= scene < len(Streets("gallery")) else None


@st.cache_data(max_entries=2, show_spinner="Running the vision transformer …")
def example_file(scene: int) -> bytes:
    """What the example computes on a street, as an attention file; the same bytes each time."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / example_name(scene)
        save_layers(example_layers(scene), path)
        return path.read_bytes()


@st.cache_data(max_entries=24, show_spinner=False)
def example_file_hash(scene: int) -> str:
    """SHA-256 of `example_file`, in hexadecimal."""
    return hashlib.sha256(example_file(scene)).hexdigest()


def choose_example() -> tuple[int, Layers]:
    """A choice of the street; its number, and the example's attention on it."""
    scene = choose_street()
    card = read_card()
    st.caption(
        "A small transformer that segments streets, without GR and LR, as an example of any other network; trained on "
        f"{literal(card['training'])}."
    )
    return scene, example_layers(scene)
