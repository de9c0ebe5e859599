import gc
import re
import sys
import types

import streamlit as st
from streamlit.commands import navigation
from streamlit.navigation import page
from streamlit.runtime.scriptrunner import script_runner

from tests.pages.small import APP, app_on, save_network


def test_streamlit_finds_the_pages_by_itself(monkeypatch):
    """As it does until app.py has run once on a server: app.py, and a page for each file in pages/."""
    found = []
    monkeypatch.setattr(page, "_create_page", lambda path, **options: path)
    monkeypatch.setattr(
        navigation, "_navigation", lambda pages, **options: found.extend(pages) or types.SimpleNamespace(run=int)
    )
    script_runner._mpa_v1(str(APP))
    names = [path.relative_to(APP.parent).as_posix() for path in found]
    assert names[0] == "app.py"
    assert sorted(names[1:]) == sorted(re.findall(r'st\.Page\("(.*?)"', APP.read_text(encoding="utf-8")))
    assert len(names) == 6


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
