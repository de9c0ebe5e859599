"""Every page in a real browser, opened by its own address: something is shown, and the console stays quiet."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.widgets import PATIENCE_SECONDS, TRANSLATE, wait_until_settled

pytestmark = pytest.mark.browser

expect.set_options(timeout=1000 * PATIENCE_SECONDS)
PAGES = {
    "": "Where does one pixel look?",
    "noise_report": "How noisy is the attention?",
    "figures": "A figure for the paper",
    "lesson?step=4": "4 · How LR fills a hollow",
    "lesson?step=6": "6 · The real model",
    "models?card=untrained": "Models",
}


@pytest.fixture
def tab(chromium):
    """An empty tab whose console must stay free of errors and warnings."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    page = context.new_page()
    complaints = []

    def note(message) -> None:
        # Streamlit looks for its server below the page's own address first.
        if message.type in ("error", "warning") and "/_stcore/" not in message.location["url"]:
            complaints.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


def opened(page, address: str, title: str) -> None:
    page.goto(address)
    page.get_by_role("heading", name=title, exact=True).wait_for()
    wait_until_settled(page)
    page.wait_for_timeout(500)  # for charts and fonts
    assert page.get_by_test_id("stException").count() == 0
    assert page.get_by_test_id("stAlertContentError").count() == 0


@pytest.mark.parametrize(("path", "title"), PAGES.items())
def test_a_page_opens_by_its_own_address(tab, app_url, path, title):
    opened(tab, f"{app_url}/{path}", title)
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390


def test_a_translated_lesson_shows_what_is_chosen(tab, app_url):
    opened(tab, f"{app_url}/lesson?step=1", "1 · Softmax attention by hand")
    before = tab.get_by_text("The row sums to").locator("xpath=ancestor::p").inner_text()
    tab.evaluate(TRANSLATE, "[data-testid=stMain]")
    slider = tab.get_by_role("slider", name="cell 2, 3")
    slider.focus()
    tab.keyboard.press("ArrowLeft")
    row = tab.locator("p", has=tab.get_by_text("The row sums to 1.000"))
    row.filter(has_not_text="«").wait_for()
    terms = [float(term) for term in re.findall(r"\d\.\d{3}", row.inner_text())[1:]]
    assert row.inner_text() != before and sum(terms) == pytest.approx(1, abs=0.003)
    strongest = tab.locator("p", has_text="The strongest cell takes").inner_text()
    assert f"takes {100 * max(terms):.0f}%." in strongest
    assert row.locator("[translate=no]").count() == 7


@pytest.mark.parametrize("path", ["lesson?step=6", "models?card=untrained"])
def test_a_page_is_the_first_that_a_fresh_server_shows(fresh_url, tab, path):
    opened(tab, f"{fresh_url}/{path}", PAGES[path])
    assert re.search(rf"/{re.escape(path)}$", tab.url)


SEEN_PAGES = """
window.pages = new Set();
const look = () => document.querySelectorAll("[data-testid=stSidebarNavLink]").forEach((a) => pages.add(a.textContent));
new MutationObserver(look).observe(document, { subtree: true, childList: true });
"""


def test_the_first_visitor_of_a_server_is_offered_its_pages_alone(fresh_url, tab):
    tab.add_init_script(SEEN_PAGES)
    opened(tab, f"{fresh_url}/", PAGES[""])
    assert tab.evaluate("[...pages]") == ["Explorer", "Noise report", "Figures", "Lesson", "Models"]


def test_the_lesson_s_grids_have_room_for_their_numbers(tab, app_url):
    path = "lesson?step=4"
    for width in (1024, 1440):
        tab.set_viewport_size({"width": width, "height": 900})
        opened(tab, f"{app_url}/{path}", PAGES[path])
        for place in (0, 1):
            tab.get_by_test_id("stPlotlyChart").nth(place).locator(".main-svg").first.wait_for()
        for grid in tab.get_by_test_id("stPlotlyChart").all()[:2]:
            drawn, shown = grid.locator(".main-svg").first.bounding_box(), grid.bounding_box()
            assert 240 <= drawn["width"] <= shown["width"] + 1
    first, second = (grid.bounding_box() for grid in tab.get_by_test_id("stPlotlyChart").all()[:2])
    assert first["y"] == second["y"]


def test_a_click_on_a_figure_picks_the_pixel_that_is_read_out_and_drawing_places_an_arrow(tab, app_url):
    opened(tab, f"{app_url}/figures", PAGES["figures"])
    preview = tab.locator(".figure-preview")
    picture = preview.locator("img").bounding_box()
    left, top = picture["x"] + 0.13 * picture["width"], picture["y"] + 0.3 * picture["height"]
    tab.mouse.move(left, top)
    y, x = re.search(r"Row 1 of the figure: pixel's row (\d+), column (\d+)", preview.inner_text()).groups()
    tab.mouse.click(left, top)
    row = tab.get_by_role("spinbutton", name="Pixel's row").first
    expect(row).to_have_value(y)
    expect(tab.get_by_role("spinbutton", name="Pixel's column").first).to_have_value(x)
    tab.get_by_role("combobox", name="A click on the figure is to").click()
    tab.get_by_role("option", name="place an arrow").click()
    expect(preview).to_contain_text("from its tail to its tip")
    tab.mouse.move(left, top)
    tab.mouse.down()
    tab.mouse.move(left + 20, top + 20, steps=3)
    tab.mouse.up()
    tab.get_by_text("Arrows, boxes and texts (1)").click()
    expect(tab.get_by_role("spinbutton", name="Tail, row")).to_have_value(y)
