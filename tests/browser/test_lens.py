"""The lens in a real browser: its numbers against Python's, and its use on the page as served."""

import base64
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from analysis import Capture
from analysis.geometry import cell_to_pixel, pixel_to_cell
from analysis.lens import SCRIPT, pack_capture, row_options
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from dnl.classes import LabelSet

pytestmark = pytest.mark.browser

PATIENCE_SECONDS = 60
STAGES = ("raw", "rectified", "retained")
METRICS = {
    "interclass_noise": "interclassNoise",
    "chance": "chance",
    "kept_mass": "keptMass",
    "intraclass_noise": "intraclassNoise",
    "hollow_fraction": "hollowFraction",
    "effective_keys": "effectiveKeys",
}


# --- the script's functions against Python's -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script_page(chromium):
    """A blank page with the script's functions as `lens`."""
    page = chromium.new_page()
    page.evaluate(
        """async (script) => {
          const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
          window.lens = await import(address);
        }""",
        SCRIPT,
    )
    yield page
    page.close()


def make_capture(spread=1.0, **changes) -> Capture:
    """A capture of 6×11 cells over a photo of 47×83 pixels with unlabelled parts. A wide spread: nearly one-hot."""
    rng = np.random.default_rng(3)
    fields = {
        "query": (spread * rng.normal(size=(5, 6, 11))).astype(np.float32),
        "key": rng.normal(size=(5, 6, 11)).astype(np.float32),
        "class_probs": rng.dirichlet(np.ones(4) / 3, (6, 11)).transpose(2, 0, 1).astype(np.float32),
        "image": rng.integers(0, 256, (47, 83, 3), dtype=np.uint8),
        "labels": np.kron(rng.integers(0, 5, (6, 11)), np.ones((8, 8), int))[:47, :83].astype(np.uint8),
        "prediction": np.kron(rng.integers(0, 4, (6, 11)), np.ones((8, 8), int))[:47, :83].astype(np.uint8),
        "label_set": LabelSet("tiny", ("a", "b", "c", "d"), ((0, 0, 0),) * 4, ignore_index=4),
        "gate": "similarity",
        "lr_kernel": 5,
    }
    return Capture(**(fields | changes))


def computed_by_script(page, capture: Capture, choices: dict) -> list[dict]:
    """For every cell: its three rows and their metrics."""
    page.evaluate(
        "(text) => { window.capture = lens.unpack(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))); }",
        base64.b64encode(pack_capture(capture)).decode(),
    )
    return page.evaluate(
        """(choices) => Array.from({ length: capture.cells }, (_, cell) => {
          const stages = lens.attentionStages(capture, cell, lens.effectiveChoices(capture, choices));
          return Object.fromEntries(lens.STAGES.map((stage) => [stage, {
            row: Array.from(stages[stage]),
            metrics: lens.queryMetrics(stages[stage], capture.cellClasses, cell, capture.no_class),
          }]));
        })""",
        choices,
    )


def assert_same_numbers(page, capture: Capture, choices: dict) -> None:
    found = computed_by_script(page, capture, choices)
    labels = capture.cell_prediction if capture.cell_labels is None else capture.cell_labels
    queries = np.arange(capture.height * capture.width)
    rows = attention_rows(capture, queries, **row_options(capture, choices))
    for stage in STAGES:
        expected = getattr(rows, stage).reshape(len(queries), -1)
        np.testing.assert_allclose([cell[stage]["row"] for cell in found], expected, rtol=1e-9, atol=1e-15)
        metrics = query_metrics(expected, labels, queries, ignore_index=capture.ignore_index)
        for name, script_name in METRICS.items():
            values = [cell[stage]["metrics"][script_name] for cell in found]
            values = np.array([np.nan if value is None else value for value in values])
            np.testing.assert_allclose(values, getattr(metrics, name), rtol=1e-8, atol=1e-12, err_msg=f"{stage} {name}")
        assert [cell[stage]["metrics"]["emptied"] for cell in found] == metrics.emptied.tolist()


@pytest.mark.parametrize(
    ("gate", "retention"),
    list(itertools.product(("off", "sigmoid", "binary", "similarity", "oracle"), ("off", "learnt", "box"))),
)
def test_rows_and_metrics_are_python_s(script_page, gate, retention):
    assert_same_numbers(script_page, make_capture(), {"gate": gate, "retention": retention})


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": None},  # measured against the prediction, without the oracle
        {"gate": None, "lr_kernel": None},  # a plain non-local block
        {"lr_kernel": 3, "lr_weights": "box"},
        {"spread": 40.0, "gate": "binary"},  # emptied rows, and nothing on the own class
        {"labels": np.zeros((47, 83), np.uint8)},  # one class alone
    ],
)
def test_the_model_s_own_choices_are_python_s(script_page, changes):
    assert_same_numbers(script_page, make_capture(**changes), {"gate": "oracle" if "labels" in changes else None})


@pytest.mark.parametrize("choices", [{}, {"gate": "oracle", "retention": "learnt"}, {"retention": "box"}])
@pytest.mark.parametrize("probs", [True, False])
def test_a_finished_map_s_numbers_are_python_s(script_page, probs, choices):
    full = make_capture()
    rows = attention_rows(full, gate=None, lr_kernel=None).raw.reshape(66, 66)
    capture = Capture.from_attention(
        rows,
        6,
        11,
        full.class_probs if probs else None,
        full.image,
        full.labels,
        label_set=full.label_set,
        gate="binary" if probs else None,
    )
    assert_same_numbers(script_page, capture, choices)
    lacking = script_page.evaluate("lens.lacks(capture)")
    assert ["class_probs" in words for words in lacking] == ([False] if probs else [True, False])
    assert "query and key" in lacking[-1]
    gates = script_page.evaluate("lens.availableGates(capture)")
    assert gates == (["off", "sigmoid", "binary", "similarity", "oracle"] if probs else ["off", "oracle"])
    assert script_page.evaluate("lens.availableRetentions(capture)") == ["off", "box"]


def test_attention_without_classes_has_maps_but_no_figures(script_page):
    full = make_capture()
    capture = Capture.from_qk(full.query, full.key, 6, 11).with_image()
    found = computed_by_script(script_page, capture, {"gate": "binary", "retention": "learnt"})
    expected = attention_rows(capture, lr_kernel=3, lr_weights="learnt")
    np.testing.assert_allclose(
        [cell["retained"]["row"] for cell in found], expected.retained.reshape(66, -1), rtol=1e-9, atol=1e-15
    )
    assert all(cell["raw"]["metrics"]["interclassNoise"] is None for cell in found)
    first, second = script_page.evaluate("lens.lacks(capture)")
    assert "no classes to measure noise against" in first and "class_probs" in second


def test_pixels_and_cells_are_python_s(script_page):
    for pixels, cells in ((47, 6), (83, 11), (360, 45), (480, 60), (10, 10), (7, 1), (1, 1), (33, 5)):
        found = script_page.evaluate(
            """([pixels, cells]) => [
              Array.from({ length: pixels }, (_, pixel) => lens.pixelToCell(pixel, pixels, cells)),
              Array.from({ length: cells }, (_, cell) => lens.cellToPixel(cell, pixels, cells)),
            ]""",
            [pixels, cells],
        )
        assert found[0] == [pixel_to_cell(0, x, (1, pixels), (1, cells))[1] for x in range(pixels)]
        assert found[1] == [cell_to_pixel(0, x, (1, pixels), (1, cells))[1] for x in range(cells)]


def test_a_constant_map_has_a_colour_and_a_number(script_page):
    found = script_page.evaluate(
        """() => {
          const range = lens.colourRange([new Float64Array(6)], "weight");
          return [range, lens.colourPosition(0, range, "weight"), lens.colourTicks(range, "weight")];
        }"""
    )
    assert found == [{"low": 0, "high": 0, "clipped": False}, 0, [[0, "0"]]]


def test_the_colour_scale_s_numbers_are_round_and_within_it(script_page):
    for high in (1.0, 0.037, 17.3, 2500.0):
        ticks = script_page.evaluate("(high) => lens.colourTicks({ low: 0, high }, 'share')", high)
        assert 3 <= len(ticks) <= 6 and ticks[0] == [0, "0"]
        assert all(value <= high * (1 + 1e-9) and float(text) == pytest.approx(value) for value, text in ticks)


# --- the page as served ----------------------------------------------------------------------------------------------


@pytest.fixture
def explorer(chromium, app_url):
    """The Explorer on arrival, the lens alive; the browser's console must stay free of errors."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(app_url)
    wait_for_lens(page)
    yield page
    context.close()
    assert complaints == []


def wait_for_lens(page) -> None:
    page.wait_for_selector(".lens[data-pixel]")
    wait_until_settled(page)


def wait_until_settled(page) -> None:
    """Until the server has answered the last change of state."""
    page.wait_for_timeout(150)
    page.wait_for_function("document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'")
    page.wait_for_selector("[data-stale=true]", state="detached")


def lens_figures(page) -> dict[str, dict[str, float]]:
    """stage -> figure -> value, as the lens holds them; an undefined figure is None."""
    return {
        stage: {
            name: float(value) if (value := cell.get_attribute("data-value")) else None
            for name in ("interclassNoise", "intraclassNoise", "hollowFraction", "keptMass")
            for cell in [page.locator(f"[data-panel={stage}] [data-figure={name}]")]
        }
        for stage in STAGES
    }


def table_figures(page) -> dict[str, dict[str, float | None]]:
    """stage -> figure -> value of the table below the lens."""
    rows = page.get_by_test_id("stTable").first.locator("tr").all()
    cells = [[cell.inner_text().strip() for cell in row.locator("th, td").all()][-4:] for row in rows]
    names = {
        "interclass noise": "interclassNoise",
        "intraclass noise": "intraclassNoise",
        "hollow fraction": "hollowFraction",
        "kept mass": "keptMass",
    }
    assert cells[0][1:] == list(STAGES)
    return {
        stage: {names[row[0]]: _number(row[index]) for row in cells[1:] if row[0] in names}
        for index, stage in enumerate(STAGES, start=1)
    }


def _number(text: str) -> float | None:
    return None if text in ("–", "emptied") else float(text)


def assert_lens_and_table_agree(page) -> None:
    """Within 0.001, once the server has answered: the table follows a click by a moment."""
    wait_until_settled(page)
    for _ in range(PATIENCE_SECONDS):
        differing = differences(lens_figures(page), table_figures(page))
        if not differing:
            return
        page.wait_for_timeout(1000)
    pytest.fail(f"lens and table differ: {differing}")


def differences(lens: dict, table: dict) -> list[tuple]:
    return [
        (stage, name, value, table[stage][name])
        for stage in STAGES
        for name, value in lens[stage].items()
        if table[stage][name] != (None if value is None else pytest.approx(value, abs=1e-3))
    ]


def click_pixel(page, panel: str, y: int, x: int) -> None:
    """Click the middle of pixel (y, x) of a photo of 360×480."""
    box = page.locator(f"[data-panel={panel}] canvas").bounding_box()
    page.mouse.click(box["x"] + (x + 0.5) / 480 * box["width"], box["y"] + (y + 0.5) / 360 * box["height"])
    page.mouse.move(box["x"] - 60, box["y"] - 60)


def shown_pixel(page) -> list[int]:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return [int(side) for side in page.locator(".lens").get_attribute("data-pixel").split()]


def colours_of(page, panel: str) -> int:
    """How many colours a panel's canvas shows."""
    return page.locator(f"[data-panel={panel}] canvas").evaluate(
        """(canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )


def test_something_is_shown_on_arrival(explorer):
    assert all(colours_of(explorer, panel) > 50 for panel in ("photo", *STAGES))
    assert_lens_and_table_agree(explorer)


@pytest.mark.parametrize("panel", ["photo", "retained"])
def test_a_click_pins_its_pixel_for_lens_and_table(explorer, panel):
    before = table_figures(explorer)
    for y, x in ((230, 120), (300, 400)):
        click_pixel(explorer, panel, y, x)
        found = shown_pixel(explorer)
        assert abs(found[0] - y) <= 1 and abs(found[1] - x) <= 1  # the mouse has whole screen pixels
        assert_lens_and_table_agree(explorer)
    assert table_figures(explorer) != before


def test_hovering_previews_without_the_server(explorer):
    start, figures = shown_pixel(explorer), lens_figures(explorer)
    requests = []
    explorer.on("request", lambda request: requests.append(request.url))
    explorer.evaluate(
        """() => {
          window.sent = 0;
          const send = WebSocket.prototype.send;
          WebSocket.prototype.send = function (data) {
            window.sent++;
            return send.call(this, data);
          };
        }"""
    )
    box = explorer.locator("[data-panel=raw] canvas").bounding_box()
    for share in (0.2, 0.5, 0.8):
        explorer.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
        assert shown_pixel(explorer) == pytest.approx([share * 360, share * 480], abs=4)
    assert lens_figures(explorer) != figures
    explorer.mouse.move(box["x"] - 60, box["y"] - 60)
    assert shown_pixel(explorer) == start and lens_figures(explorer) == figures
    assert requests == [] and explorer.evaluate("window.sent") == 0


def test_the_keyboard_moves_by_one_cell_and_pins(explorer):
    click_pixel(explorer, "photo", 200, 200)
    wait_until_settled(explorer)
    y, x = shown_pixel(explorer)
    row, column = pixel_to_cell(y, x, (360, 480), (45, 60))
    explorer.locator("[data-panel=photo] canvas").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        explorer.keyboard.press(key)
    moved = shown_pixel(explorer)
    assert pixel_to_cell(*moved, (360, 480), (45, 60)) == (row + 1, column + 2)
    explorer.keyboard.press("Escape")
    assert shown_pixel(explorer) == [y, x]
    explorer.keyboard.press("ArrowUp")
    explorer.keyboard.press("Enter")
    assert_lens_and_table_agree(explorer)
    assert pixel_to_cell(*shown_pixel(explorer), (360, 480), (45, 60)) == (row - 1, column)
    focused = explorer.evaluate("document.activeElement.shadowRoot?.activeElement?.tagName")
    assert focused == "CANVAS"


@pytest.mark.parametrize(("gate", "retention"), [("binary", "learnt"), ("oracle", "box"), ("off", "off")])
def test_choices_change_lens_and_table_alike(explorer, gate, retention):
    before = lens_figures(explorer)
    explorer.locator(f"[data-choice=gate] input[value={gate}]").check()
    explorer.locator(f"[data-choice=retention] input[value={retention}]").check()
    assert_lens_and_table_agree(explorer)
    figures = lens_figures(explorer)
    assert figures["raw"] == before["raw"] and figures["retained"] != before["retained"]
    if gate == "off":
        assert figures["rectified"] == figures["raw"] and figures["retained"] == figures["rectified"]


def choose_scene(page, number: int) -> None:
    page.get_by_test_id("stSelectbox").filter(has_text="Scene").locator("input").click()
    page.get_by_role("option", name=f"Street {number}", exact=True).click()
    page.locator("[data-panel=photo] figcaption").get_by_text(f"Street {number}", exact=True).wait_for()


def test_choices_hold_for_every_scene_and_pins_for_their_own(explorer):
    explorer.locator("[data-choice=gate] input[value=binary]").check()
    click_pixel(explorer, "photo", 350, 10)
    wait_until_settled(explorer)
    pinned = shown_pixel(explorer)
    choose_scene(explorer, 3)
    assert_lens_and_table_agree(explorer)
    assert shown_pixel(explorer) != pinned
    assert explorer.locator("[data-choice=gate] input[value=binary]").is_checked()
    click_pixel(explorer, "photo", 20, 470)
    wait_until_settled(explorer)
    choose_scene(explorer, 1)
    assert_lens_and_table_agree(explorer)
    assert shown_pixel(explorer) == pinned


def test_a_narrow_window_shows_everything_in_its_width(explorer):
    explorer.set_viewport_size({"width": 390, "height": 844})
    explorer.wait_for_timeout(300)
    for panel in ("photo", *STAGES):
        box = explorer.locator(f"[data-panel={panel}] canvas").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["width"] > 120
    assert explorer.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390


def test_a_tall_photo_keeps_its_shape_and_a_broken_one_is_refused(explorer):
    explorer.get_by_test_id("stSelectbox").filter(has_text="Image").locator("input").click()
    explorer.get_by_role("option", name="Your photo").click()
    photo = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 90, 3), dtype=np.uint8)).save(photo, "PNG")
    uploader = explorer.get_by_test_id("stFileUploaderDropzoneInput").first
    uploader.set_input_files({"name": "tall.png", "mimeType": "image/png", "buffer": photo.getvalue()})
    explorer.get_by_text("No labels: measured against the model's own prediction").wait_for()
    wait_for_lens(explorer)
    box = explorer.locator("[data-panel=raw] canvas").bounding_box()
    assert box["height"] / box["width"] == pytest.approx(200 / 90, rel=0.02)
    assert explorer.locator("[data-choice=gate] input[value=oracle]").count() == 0
    explorer.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.9)
    assert shown_pixel(explorer) == pytest.approx([180, 22], abs=2)
    assert_lens_and_table_agree(explorer)
    uploader.set_input_files({"name": "torn.png", "mimeType": "image/png", "buffer": photo.getvalue()[:300]})
    explorer.get_by_text("The photo is cut off or damaged").wait_for()
    assert_lens_and_table_agree(explorer)


def test_the_pinned_pixel_s_figure_comes_as_png_and_pdf(explorer):
    for label, start in (("Figure (PNG)", b"\x89PNG"), ("Figure (PDF)", b"%PDF")):
        with explorer.expect_download() as download:
            explorer.get_by_role("button", name=label).click()
        assert download.value.path().read_bytes().startswith(start)
        assert download.value.suggested_filename.startswith("attention-street-1-")
