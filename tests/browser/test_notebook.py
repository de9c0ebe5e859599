"""The lens in a notebook: the notebook of docs/ run in a kernel, and the widget's pins both ways."""

import base64
from pathlib import Path

import pytest
import torch

import analysis
from analysis.lens import known_pins
from tests.analysis.catch.modules import Attention, ViT, fused, images

pytestmark = pytest.mark.browser

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"

# What a front end is to anywidget: the widget's traits, which here are those of the real widget in Python.
FRONT_END = """
async (script) => {
  const listeners = {};
  const traits = await window.traits();
  traits.payload = new DataView(Uint8Array.from(atob(traits.payload), (letter) => letter.charCodeAt(0)).buffer);
  const changed = {};
  const model = {
    get: (name) => traits[name],
    set: (name, value) => { traits[name] = changed[name] = value; },
    save_changes: () => { for (const [name, value] of Object.entries(changed)) window.said(name, value); },
    on: (event, listener) => { listeners[event] = listener; },
    off: () => {},
  };
  window.hear = (name, value) => { traits[name] = value; listeners[`change:${name}`](); };
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const { default: widget } = await import(address);
  widget.render({ model, el: document.body });
}
"""


@pytest.mark.slow
def test_the_notebook_runs_and_its_lens_lives(chromium):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parents[1])}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    (frame,) = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert any("4 of 4 attention modules ran" in output.get("text", "") for output in outputs)
    page = chromium.new_page(viewport={"width": 1200, "height": 800})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_content(frame)
    lens = page.frame_locator("iframe")
    lens.get_by_role("button", name="All heads").click()
    maps = lens.get_by_role("group", name="Maps of all heads").get_by_role("button")
    chosen = maps.nth(4).get_attribute("aria-label") or ""
    maps.nth(4).click()
    layer, head = (lens.locator(f"select[name={name}]") for name in ("layer", "head"))
    layer.wait_for()
    assert chosen.startswith(f"{layer.input_value()}, head {head.input_value()}")
    assert maps.count() == 12 and lens.get_by_role("list", name="Pins").get_by_role("listitem").count() == 1
    lens.locator("[data-panel=raw] canvas").hover(position={"x": 40, "y": 40})
    lens.locator(".state").get_by_text("Preview").wait_for()
    assert complaints == []
    page.close()


def test_pins_go_both_ways(chromium):
    pytest.importorskip("anywidget")
    torch.manual_seed(0)
    model = ViT(Attention(fused)).eval()
    with torch.no_grad(), analysis.watch(model, "attn") as watched:
        model(images())
    lens = analysis.show(watched, pins=[(1, 2)])
    heard: list = []
    lens.observe(heard.append)
    page = chromium.new_page(viewport={"width": 1200, "height": 800})
    names = ("pins", "choices", "look", "map")
    page.expose_function("said", lambda name, value: setattr(lens.widget, name, value))
    payload = base64.b64encode(lens.widget.payload).decode()
    page.expose_function("traits", lambda: {"payload": payload} | {name: getattr(lens.widget, name) for name in names})
    page.set_content(f"<style>{lens.widget._css}</style>")
    page.evaluate(FRONT_END, lens.widget._esm)
    chips = page.get_by_role("list", name="Pins").get_by_role("listitem")
    chips.first.wait_for()
    assert chips.count() == 1 and lens.pins == [(1, 2)]
    box = page.locator("[data-panel=photo] canvas").bounding_box()
    rows, columns = watched.capture().cells  # without an image, a pixel a cell
    page.mouse.click(box["x"] + (3 + 0.5) / columns * box["width"], box["y"] + (2 + 0.5) / rows * box["height"])
    chips.nth(1).wait_for()
    assert lens.pins == [(1, 2), (2, 3)] == heard[-1]
    lens.pins = [(0, 4), (2, 0)]
    page.evaluate("([name, value]) => window.hear(name, value)", ["pins", lens.widget.pins])
    page.locator(".readout .place", has_text="column\u00a04").first.wait_for()
    assert chips.count() == 2 and known_pins({"": lens.widget.pins}) == {"": [(0, 4), (2, 0)]}
    page.locator("select[name=head]").select_option("2")
    page.wait_for_function("document.querySelector('select[name=head]').value === '2'")
    assert lens.widget.map == {"layer": "attn", "head": 2}
    page.close()
