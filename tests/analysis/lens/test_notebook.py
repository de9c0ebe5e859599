"""What a notebook shows of captures, layers and watched networks."""

import html
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import analysis
from analysis.capture import Layer, Layers
from analysis.lens import notebook, show
from tests.analysis.catch.modules import HEIGHT, WIDTH, Attention, ViT, fused, images

ROOT = Path(__file__).parents[3]
PHOTO = np.zeros((4 * HEIGHT, 4 * WIDTH, 3), np.uint8)


@pytest.fixture(autouse=True)
def without_anywidget(monkeypatch):
    monkeypatch.setattr(notebook.importlib.util, "find_spec", lambda name: None)


@pytest.fixture(scope="module")
def watched():
    torch.manual_seed(0)
    model = ViT(Attention(fused)).eval()
    with torch.no_grad(), analysis.watch(model, "attn") as watched:
        model(images())
    return watched


def page_in(frame: str) -> str:
    """The page in an iframe's srcdoc."""
    (source,) = re.findall(r'srcdoc="([^"]*)"', frame)
    return html.unescape(source)


def test_captures_layers_and_watched_networks_show_a_frame_that_needs_nothing(watched):
    capture = watched.capture(head=1, image=PHOTO, name="a <photo>")
    for shown in (capture, watched.layers(image=PHOTO, name="a <photo>"), watched):
        frame = shown._repr_html_()
        assert frame.startswith("<iframe srcdoc=") and frame.endswith("</iframe>") and "height: 760px" in frame
        page = page_in(frame)
        assert "default-src 'none'" in page and "://" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)
        assert page.count("</html>") == 1 and "<photo>" not in page


def test_size_pins_and_gate_are_what_the_lens_begins_with(watched):
    lens = analysis.show(watched, image=PHOTO, size=(600, 400), pins=[(3, 4)], gate="off", heads=[0, 2])
    assert "width: 600px; height: 400px" in lens._repr_mimebundle_()["text/html"]
    assert lens._request == {"id": "notebook", "pins": [[3, 4]], "choices": {"gate": "off"}}
    assert page_in(lens._repr_html_()) == lens.html
    for use in (lambda: lens.pins, lambda: lens.observe(print)):
        with pytest.raises(RuntimeError, match="with the package anywidget: pip install anywidget"):
            use()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gate": "soft"}, "gate is 'soft'; choose one of sigmoid"),
        ({"pins": [(1, 2, 3)]}, r"a pin is \(1, 2, 3\); it must be a pixel \(y, x\)"),
        ({"size": 0}, "size is 0; it must be a height in pixels"),
        ({"layers": "x*"}, r"no layer fits 'x\*'; choose of attn"),
        ({"heads": 9}, r"heads are 9; attn has 0 … 2"),
    ],
)
def test_each_fault_gets_one_sentence(watched, options, words):
    with pytest.raises(ValueError, match=words):
        show(watched.layers(image=PHOTO), **options)


def test_too_much_for_a_notebook_is_said(watched, monkeypatch):
    monkeypatch.setattr(notebook, "MAX_NOTEBOOK_BYTES", 1000)
    with pytest.raises(ValueError, match=r"3 heads of 1 layers take 0 MiB, .* choose some with layers=… and heads=…"):
        show(watched.layers(image=PHOTO))
    assert watched._repr_html_().startswith("<p>3 heads of 1 layers")


def test_queries_without_a_place_are_left_out_or_looked_at_alone():
    rng = np.random.default_rng(0)
    size, named = {"cells": (2, 3), "key_cells": (2, 3)}, {"query_names": ("a", "b"), "key_size": (2, 3)}
    cells = Layer("cells", heads=(0,), arrays={"attention": np.ones((1, 6, 6)) / 6}, options={"image": PHOTO}, **size)
    rows = rng.dirichlet(np.ones(6), (1, 2))
    others = Layer("others", (1, 2), (2, 3), (0,), {"attention": rows}, {"image": PHOTO, **named})
    kept = notebook.placed(Layers((cells, others)))
    assert kept.names == ["cells"] and "no place on the image" in kept.left_out["others"]
    assert show(Layers((cells, others)))._repr_html_() and show(Layers((cells, others)), layers="others")._repr_html_()


def test_a_watched_network_that_did_not_run_says_so():
    with analysis.watch(ViT(Attention(fused)), "attn") as watched:
        pass
    assert watched._repr_html_() == "<p>no attention was watched while the model ran</p>"


def test_showing_brings_matplotlib_and_importing_does_not():
    script = "import sys, analysis; analysis.show; print('matplotlib' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
