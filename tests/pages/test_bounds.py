"""What the server and a session keep stays bounded, however much is looked at."""

import ast
import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import streamlit as st

from pages.parts.app import links
from pages.parts.subjects import captures, models, pictures, places
from tests.fuzz import corpus
from tests.pages.small import APP, app_on, png, read, save_network

PAGES = sorted((APP.parent / "pages").rglob("*.py"))


@pytest.fixture
def zoo(tmp_path) -> Path:
    for seed in range(4):
        save_network(tmp_path / f"network-{seed}.safetensors", seed=seed)
    return tmp_path


@pytest.fixture
def app(zoo, monkeypatch):
    st.cache_data.clear()
    st.cache_resource.clear()
    return app_on(zoo, monkeypatch)


@pytest.fixture
def runs(monkeypatch) -> list[str]:
    """The names of the images that a network was run on."""
    names = []
    original = captures.capture_attention

    def record(*arguments, name, **options):
        names.append(name)
        return original(*arguments, name=name, **options)

    monkeypatch.setattr(captures, "capture_attention", record)
    return names


def photo(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def held(value) -> int:
    """Bytes of files and arrays in a value of the session, at any depth."""
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(held, value.values()))
    if isinstance(value, list | tuple | set):
        return sum(map(held, value))
    return held(vars(value)) if hasattr(value, "__dict__") else 0


def cached_calls(path: Path):
    """Every mention of a cache of Streamlit in a file: (line, names of its arguments)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("cache_data", "cache_resource"):
            call = calls.get(id(node))
            yield node.lineno, {argument.arg for argument in call.keywords} if call else set()


def test_every_cache_has_a_bound():
    found = [(path.name, line, names) for path in PAGES for line, names in cached_calls(path)]
    assert len(found) > 10
    assert [(name, line) for name, line, names in found if "max_entries" not in names] == []


def test_models_beyond_the_bound_leave_the_memory(app):
    first = weakref.ref(models.model_with_attention("network-0").network)
    assert models.model_with_attention("network-0").network is first()
    for seed in (1, 2, 3):
        models.model_with_attention(f"network-{seed}")
    gc.collect()
    assert first() is None


@pytest.mark.parametrize(("kind", "bound"), [("captured", 16), ("compared", 4)])
def test_the_captures_and_buffers_of_all_sessions_are_bounded(app, runs, monkeypatch, kind, bound):
    model, other = (models.model_with_attention(f"network-{seed}") for seed in (0, 1))
    shown = [pictures.Picture(photo(seed), None, f"picture {seed}") for seed in range(bound + 1)]
    packed = []
    original = captures.pack_capture
    monkeypatch.setattr(captures, "pack_capture", lambda *a, **b: packed.append(1) or original(*a, **b))

    def work(picture) -> bool:
        """Look at a picture; whether anything had to be computed."""
        before = len(runs) + len(packed)
        captures.captured(model, picture) if kind == "captured" else captures.compared(model, other, picture)
        return len(runs) + len(packed) > before

    assert all(map(work, shown))
    assert not any(map(work, shown[1:]))  # what is within the bound is kept
    assert work(shown[0])  # and the oldest was let go


def test_a_session_keeps_no_photo_but_the_one_in_use(app, runs):
    app.session_state["source"] = places.UPLOAD
    sizes = []
    for seed in range(6):
        app.session_state["kept photo"] = (f"photo-{seed}.png", png(photo(seed)))
        app.run()
        assert not app.exception and not app.error
        sizes.append(held({name: app.session_state[name] for name in app.session_state}))
    assert runs == [f"photo-{seed}.png" for seed in range(6)]
    assert sizes[-1] < sizes[0] + len(png(photo(0))) / 2
    assert len(app.session_state["pictures seen"]) == 6
    app.session_state["kept photo"] = ("photo-5.png", png(photo(5)))
    app.run()
    assert len(runs) == 6  # the last ones are kept
    app.session_state["kept photo"] = ("photo-0.png", png(photo(0)))
    app.run()
    assert len(runs) == 7  # the first one was let go


def test_a_session_keeps_no_attention_file_but_the_one_in_use(app):
    app.session_state["source"] = "Attention file"
    sizes = []
    for number in range(5):
        content = corpus.capture_npz(metadata=corpus.CAPTURE_METADATA | {"name": f"file {number}"})
        app.session_state["kept attention file"] = (f"file-{number}.npz", content)
        app.run()
        assert not app.exception and not app.error
        sizes.append(held({name: app.session_state[name] for name in app.session_state}))
    assert max(sizes) < sizes[0] + len(content) / 2


def test_the_places_of_a_session_are_bounded(monkeypatch):
    state: dict = {}
    monkeypatch.setattr(places.st, "session_state", state)
    for scene in range(places.MOST_SEEN + 20):
        places.remember_place(f"image {scene}", places.StreetPlace(scene))
    places.remember_place("image 30", places.UploadPlace(("a.png", b"x" * 99)))
    seen = places.seen_places()
    assert len(seen) == places.MOST_SEEN and "image 19" not in seen and "image 20" in seen
    assert list(seen)[-1] == "image 30"
    assert seen["image 30"] == places.SeenUpload("a.png")


@pytest.mark.parametrize(
    ("page", "state", "key", "most"),
    [
        ("explorer", {"batch open": True, "batch source": "Your photos"}, "batch photos", 24),
        ("figures", {}, "figure photos", 24),
        ("figures", {}, "figure labels", 24),
        ("models", {}, "labelling photos", 12),
        ("noise_report", {"noise count": "Several", "noise source": places.UPLOAD}, "noise photos", 100),
        ("noise_report", {"noise count": "Several", "noise source": places.UPLOAD}, "noise photo labels", 100),
    ],
)
def test_several_files_of_one_s_own_are_bounded_and_the_others_named(app, page, state, key, most):
    app.switch_page(f"pages/{page}.py")
    for name, value in state.items():
        app.session_state[name] = value
    app.run()
    assert not app.exception
    files = [(f"image-{number}.png", b"%d" % number, "image/png") for number in range(most + 7)]
    app.file_uploader(key=key).set_value(files[:most]).run()
    assert not app.exception and not [warning for warning in app.warning if "left out" in warning.value]
    app.file_uploader(key=key).set_value(files).run()
    assert not app.exception
    assert app.session_state[f"kept {key}"] == [(name, content) for name, content, _ in files[:most]]
    (said,) = [read(warning.value) for warning in app.warning if "left out" in warning.value]
    named = ", ".join(f"image-{most + number}.png" for number in range(5))
    assert said == f"The first {most} of these {most + 7} files are used; left out: {named}, and 2 more."


def test_opened_checkpoints_are_bounded(app, zoo):
    app.switch_page("pages/models.py").run()
    for seed in range(4):
        mine = save_network(zoo / f"mine-{seed}.safetensors", seed=10 + seed)
        content = mine.read_bytes()
        mine.unlink()
        app.file_uploader(key="checkpoint file").set_value((mine.name, content, "application/octet-stream")).run()
        assert not app.exception
    assert len(app.session_state["opened models"]) == 3
    assert "no more can be" in app.error[0].value


def test_the_addresses_that_a_session_has_written_are_bounded(monkeypatch):
    state = {}
    monkeypatch.setattr(links.st, "session_state", state)
    monkeypatch.setattr(links.st, "query_params", type("Query", (dict,), {"to_dict": dict, "from_dict": dict.update})())
    for number in range(links.MOST_WRITTEN + 50):
        links.write_link({"pins": f"{number}.0"})
    assert len(state["link written"]) == links.MOST_WRITTEN
