"""The queue for the network: one at a time, and whoever goes on leaves it."""

import contextlib
import itertools
import threading
import time

import numpy as np
import pytest
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.parts.app.turns import Turns
from pages.parts.subjects import captures, models, pictures
from tests.pages.small import app_on, save_network


@pytest.fixture
def app(tmp_path, monkeypatch):
    save_network(tmp_path / "small.safetensors")
    st.cache_data.clear()
    st.cache_resource.clear()
    return app_on(tmp_path, monkeypatch)


@pytest.fixture
def runs(monkeypatch) -> list[tuple[float, float]]:
    """When each run of a network began and ended."""
    found = []
    original = captures.capture_attention

    def record(*arguments, **options):
        began = time.monotonic()
        capture = original(*arguments, **options)
        time.sleep(0.05)  # so that two at once would be seen
        found.append((began, time.monotonic()))
        return capture

    monkeypatch.setattr(captures, "capture_attention", record)
    return found


def test_networks_of_several_sessions_run_one_after_another(app, runs):
    model = models.model_with_attention("small")
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)
    together = threading.Barrier(len(images))

    def visit(image: np.ndarray) -> None:
        picture = pictures.Picture(image, None, "picture")
        together.wait()
        captures.captured(model, picture)

    visitors = [threading.Thread(target=visit, args=(image,)) for image in images]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    runs.sort()
    assert len(runs) == len(images)
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(runs))


def test_a_turn_is_given_back_by_a_network_that_fails(monkeypatch):
    with pytest.raises(ValueError, match="broken"), captures.network_turn():
        raise ValueError("broken")
    monkeypatch.setattr(captures, "give_way", lambda: pytest.fail("somebody still has the turn"))
    with captures.network_turn():
        pass


def test_turns_come_in_the_order_of_arrival():
    turns, order = Turns(), []

    def visit(name: int) -> None:
        with turns.turn(waiting[name].set):
            order.append(name)

    waiting = [threading.Event() for _ in range(5)]
    visitors = [threading.Thread(target=visit, args=(name,)) for name in range(5)]
    with turns.turn(lambda: None):
        for visitor, event in zip(visitors, waiting, strict=True):
            visitor.start()
            assert event.wait(20)
    for visitor in visitors:
        visitor.join()
    assert order == list(range(5))


@pytest.fixture
def held():
    """The turn, held by another until it is closed."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(captures.network_turn())
        yield stack


def test_a_visitor_who_goes_on_leaves_the_queue(app, runs, held, monkeypatch):
    """While the page waits for another's network, it is asked to stop, as by a click elsewhere."""
    waits = []
    original = captures.give_way

    def click_elsewhere() -> None:
        waits.append(time.monotonic())
        get_script_run_ctx().script_requests.request_stop()
        original()

    monkeypatch.setattr(captures, "give_way", click_elsewhere)
    # A page that would not leave gets its turn in the end, and the test fails.
    turn = threading.Timer(20, held.close)
    turn.start()
    app.run()
    turn.cancel()
    assert len(waits) == 1 and not runs


def test_a_visitor_who_stays_gets_a_turn(app, runs, held):
    turn = threading.Timer(1, held.close)
    turn.start()
    app.run()
    assert not app.exception and not app.error
    assert len(runs) == 1
