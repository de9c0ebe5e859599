"""Captures: the attention of a model on a picture, computed once, and the lens's buffers of it.

Caches are keyed by content and bounded. What comes from a user's own files is cached for that user's session alone.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import streamlit as st

from analysis import Capture, capture_attention
from analysis.lens import image_id, pack_capture
from pages.parts.app.session import give_way
from pages.parts.app.turns import Turns
from pages.parts.subjects.models import Model
from pages.parts.subjects.pictures import Picture
from pages.parts.subjects.places import Place, remember_place

_turns = Turns()


@dataclass(frozen=True)
class PinnedView:
    """One pixel of a capture, for the Explorer to show.

    image: the capture's `analysis.lens.image_id`. pixel: (y, x). choices: as the lens has them.
    """

    place: Place
    model: str
    image: str
    pixel: tuple[int, int]
    choices: Mapping[str, str | None]


def network_turn() -> AbstractContextManager[None]:
    """Wait for the turn to run a network: sessions queue, since several at once take each other's memory and cores.

    A visitor who clicks on leaves the queue.
    """
    return _turns.turn(give_way)


def _captured(model_key: str, picture_key: str, _model: Model, _picture: Picture) -> tuple[Capture, bytes]:
    with network_turn():
        capture = capture_attention(_model.network, _picture.image, labels=_picture.labels, name=_picture.name)
    return capture, pack_capture(capture, names=(_model.name,), health=_health_words(_model))


def _compared(
    model_key: str, other_key: str, picture_key: str, _model: Model, _other: Model, _picture: Picture
) -> bytes:
    first, second = (captured(model, _picture)[0] for model in (_model, _other))
    return pack_capture(
        first,
        second,
        names=(_model.name, _other.name),
        health=_health_words(_model),
        other_health=_health_words(_other),
    )


def _health_words(model: Model) -> dict[str, str]:
    return {"state": model.health.state, "sentence": model.health.sentence}


_WORDS = "Running the network …"
_captured_for_all = st.cache_data(_captured, max_entries=16, show_spinner=_WORDS)
_captured_for_one = st.cache_data(_captured, max_entries=4, show_spinner=_WORDS, scope="session")
_compared_for_all = st.cache_data(_compared, max_entries=4, show_spinner=False)
_compared_for_one = st.cache_data(_compared, max_entries=2, show_spinner=False, scope="session")


def captured(model: Model, picture: Picture) -> tuple[Capture, bytes]:
    """The attention of `model` on `picture`, and the lens's buffer of it."""
    run = _captured_for_one if picture.private or model.private else _captured_for_all
    found = run(model.key, picture.content_hash(), model, picture)
    if picture.place is not None:
        remember_place(image_id(found[0]), picture.place)
    return found


def compared(model: Model, other: Model, picture: Picture) -> bytes:
    """The lens's buffer of two models on one picture. Raises ValueError where they know different classes."""
    run = _compared_for_one if picture.private or model.private or other.private else _compared_for_all
    return run(model.key, other.key, picture.content_hash(), model, other, picture)
