import gc
import sys
import types

import streamlit as st

from tests.pages.small import app_on, save_network


def test_what_is_imported_is_left_out_of_garbage_collection(tmp_path, monkeypatch):
    """Streamlit looks through all other objects after each run, and every visitor waits for it."""
    save_network(tmp_path / "small.safetensors")
    st.cache_resource.clear()
    gc.unfreeze()
    assert not app_on(tmp_path, monkeypatch).run().exception
    first = gc.get_freeze_count()
    assert first > 20 * len(gc.get_objects())
    late = types.ModuleType("imported_later")
    late.content = [[number] for number in range(10_000)]
    monkeypatch.setitem(sys.modules, late.__name__, late)
    assert not app_on(tmp_path, monkeypatch).run().exception
    assert gc.get_freeze_count() >= first + 10_000
