"""A checkpoint whose weights are finite, but too large to compute with: every page says so in a sentence."""

from pathlib import Path

import pytest

from tests.pages.small import app_on, enlarge, read, save_network


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    enlarge(save_network(folder / "huge.safetensors"), 1e25, "context.query", "context.key")
    save_network(folder / "sound.safetensors")
    return folder


@pytest.mark.parametrize(
    ("page", "state"),
    [
        ("explorer", {}),
        ("noise_report", {"noise models": ["huge"]}),
        ("figures", {}),
        ("lesson", {"lesson step": 5}),
        ("lesson", {"lesson step": 6}),
        ("lesson", {"lesson step": 7}),
    ],
)
def test_weights_beyond_reason_are_a_sentence(zoo, monkeypatch, page, state):
    app = app_on(zoo, monkeypatch).switch_page(f"pages/{page}.py")
    for name, value in state.items():
        app.session_state[name] = value
    app.run()
    assert not app.exception
    said = "\n".join(read(notice.value) for notice in (*app.error, *app.warning))
    assert "network's weights are broken or too large for 'Street" in said


def test_the_explorer_goes_on_with_another_model(zoo, monkeypatch):
    app = app_on(zoo, monkeypatch).run()
    assert len(app.error) == 1
    app.selectbox(key="model").select("sound").run()
    assert not app.exception and not app.error
    assert any('data-figure="chance"' in block.proto.body for block in app.get("html"))
    app.selectbox(key="compared with").select("huge").run()
    assert not app.exception and len(app.error) == 1
