"""The lens in use, in a real browser on the page as served."""

import numpy as np
import pytest

from analysis.geometry import pixel_to_cell
from tests.browser.widgets import PATIENCE_SECONDS, choose, png, upload, wait_until_settled

pytestmark = pytest.mark.browser

STAGES = ("raw", "rectified", "retained")


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


def lens_figures(page) -> dict[str, dict[str, float]]:
    """stage -> figure -> value, as the lens holds them; an undefined figure is None."""
    return {
        stage: {
            name: float(value) if (value := cell.get_attribute("data-value")) else None
            for name in ("interclassNoise", "intraclassNoise", "hollowFraction", "keptMass")
            for cell in [page.locator(f"[data-panel={stage}] [data-figure={name}]")]
        }
        for stage in STAGES
        if page.locator(f"[data-panel={stage}]").is_visible()
    }


def table_figures(page) -> dict[str, dict[str, float | None]]:
    """stage -> figure -> value of the last pin in the table below the lens."""
    rows = page.locator(".pins tbody").last.locator("tr").all()
    names = {
        "interclass_noise": "interclassNoise",
        "intraclass_noise": "intraclassNoise",
        "hollow_fraction": "hollowFraction",
        "kept_mass": "keptMass",
    }
    found = {
        row.get_attribute("data-stage"): {
            lens: _number(row.locator(f"[data-figure={name}]").inner_text()) for name, lens in names.items()
        }
        for row in rows
    }
    return found


def _number(text: str) -> float | None:
    return None if text in ("–", "emptied") else float(text)


def assert_lens_and_table_agree(page) -> None:
    """Within 0.001, once the server has answered: the table follows a click by a moment."""
    wait_until_settled(page)
    for _ in range(10 * PATIENCE_SECONDS):
        differing = differences(lens_figures(page), table_figures(page))
        if not differing:
            return
        page.wait_for_timeout(100)
    pytest.fail(f"lens and table differ: {differing}")


def differences(lens: dict, table: dict) -> list[tuple]:
    if list(lens) != list(table):
        return [(list(lens), list(table))]
    return [
        (stage, name, value, table[stage][name])
        for stage in lens
        for name, value in lens[stage].items()
        if table[stage][name] != (None if value is None else pytest.approx(value, abs=1e-3))
    ]


def click_pixel(page, panel: str, y: int, x: int) -> None:
    """Click the middle of pixel (y, x) of a photo of 360×480."""
    canvas = page.locator(f"[data-panel={panel}] canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
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
    click_pixel(explorer, panel, 230, 120)
    assert shown_pixel(explorer) == pytest.approx([230, 120], abs=3)  # on a map, a whole pixel of the screen
    assert_lens_and_table_agree(explorer)
    assert table_figures(explorer) != before
    click_pixel(explorer, panel, 230, 120)  # a click on a pin removes it
    assert_lens_and_table_agree(explorer)
    assert table_figures(explorer) == before


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
    explorer.keyboard.press("Delete")
    wait_until_settled(explorer)
    for _ in range(2):
        explorer.keyboard.press("ArrowUp")
    start = shown_pixel(explorer)
    explorer.keyboard.press("Enter")
    assert_lens_and_table_agree(explorer)
    assert shown_pixel(explorer) == start != [y, x]
    focused = explorer.evaluate("document.activeElement.shadowRoot?.activeElement?.tagName")
    assert focused == "CANVAS"


@pytest.mark.parametrize(("gate", "retention"), [("binary", "learnt"), ("oracle", "box"), ("off", "off")])
def test_choices_change_lens_and_table_alike(explorer, gate, retention):
    before = lens_figures(explorer)
    explorer.locator(f"[data-choice=gate] input[value={gate}]").check()
    explorer.locator(f"[data-choice=retention] input[value={retention}]").check()
    assert_lens_and_table_agree(explorer)
    figures = lens_figures(explorer)
    assert figures["raw"] == before["raw"]
    if gate == retention == "off":
        assert list(figures) == ["raw"]  # without GR and LR there is one map
    else:
        assert list(figures) == list(STAGES) and figures["retained"] != before["retained"]


def choose_scene(page, number: int) -> None:
    choose(page, "Scene", f"Street {number}")
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
    photo = png(np.random.default_rng(0).integers(0, 256, (200, 90, 3), dtype=np.uint8))
    choose(explorer, "Image", "Your photo")
    upload(explorer, 0, "tall.png", photo)
    explorer.get_by_text("No labels: measured against the model's own prediction").wait_for()
    wait_for_lens(explorer)
    box = explorer.locator("[data-panel=raw] canvas").bounding_box()
    assert box["height"] / box["width"] == pytest.approx(200 / 90, rel=0.02)
    assert explorer.locator("[data-choice=gate] input[value=oracle]").count() == 0
    explorer.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.9)
    assert shown_pixel(explorer) == pytest.approx([180, 22], abs=2)
    assert_lens_and_table_agree(explorer)
    upload(explorer, 0, "torn.png", photo[:300])
    explorer.get_by_text("The photo is cut off or damaged").wait_for()
    assert_lens_and_table_agree(explorer)


def test_workers_run_on_the_page_as_served(explorer):
    """A class's mean attention, and the noisiest pixels, which are computed beside the page."""
    explorer.get_by_role("list", name="Classes").get_by_role("button", name="Car", exact=True).click()
    explorer.locator(".about").get_by_text("The mean over").wait_for()
    explorer.get_by_role("button", name="Noisiest pixels").click()
    explorer.get_by_role("group", name="Noisiest pixels").get_by_role("button").first.wait_for()
