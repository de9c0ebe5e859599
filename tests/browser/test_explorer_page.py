"""The Explorer around the lens, in a real browser: the pins' table, links, downloads, two models."""

import csv
import io
import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.widgets import (
    PATIENCE_SECONDS,
    choose,
    choose_option,
    downloaded,
    png,
    upload,
    wait_until_settled,
)

pytestmark = pytest.mark.browser

VIEW = "image=street-5&model=camvid-dnl&pins=210.180_290.240&gate=binary"


@pytest.fixture
def browse(chromium):
    """Opens an address in a browser of its own; the consoles must stay free of errors and warnings."""
    contexts, complaints = [], []

    def open_address(address: str):
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        context.set_default_timeout(1000 * PATIENCE_SECONDS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: note(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: note(str(error)))
        page.goto(address)
        wait_for_lens(page)
        return page

    def note(words: str) -> None:
        complaints.append(words)

    yield open_address
    for context in contexts:
        context.close()
    assert complaints == []


def wait_for_lens(page) -> None:
    page.wait_for_selector(".lens[data-pixel]")
    page.locator(".pins tbody").first.wait_for()
    wait_until_settled(page)


def test_presented_the_photo_and_its_maps_fill_the_screen_and_a_phone_keeps_the_photo_in_sight(chromium, app_url):
    """A projector of 1280×720 at 150 %: all whole on the first screen, and alive."""
    context = chromium.new_context(viewport={"width": 853, "height": 480}, device_scale_factor=1.5)
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    page = context.new_page()
    page.goto(f"{app_url}/?present&image=street-5&pins=210.180_290.240&active=2")
    page.wait_for_selector(".lens[data-pixel='290 240']")
    wait_until_settled(page)
    for panel in ("photo", "raw", "rectified", "retained"):
        box = page.locator(f"[data-panel={panel}] canvas").bounding_box()
        assert box["x"] >= 0 and box["y"] >= 0 and box["width"] > 240
        assert box["x"] + box["width"] <= 853 and box["y"] + box["height"] <= 480
    assert not page.get_by_test_id("stSidebar").is_visible() and not page.get_by_role("heading").count()
    noise = page.locator("[data-panel=raw] [data-figure=interclassNoise]")
    before, height = noise.inner_text(), noise.bounding_box()["height"]
    box = page.locator("[data-panel=photo] canvas").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    expect(noise).not_to_have_text(before)
    assert height > 35
    page.get_by_role("button", name="Leave").click()
    page.get_by_role("heading", name="Where does one pixel look?").wait_for()
    wait_for_lens(page)
    assert "present" not in page.url and "active=2" in page.url
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("[data-panel=retained] dl").scroll_into_view_if_needed()
    tops = [page.locator(f"[data-panel={panel}] canvas").bounding_box() for panel in ("photo", "retained")]
    assert tops[0]["y"] >= 50 and tops[0]["height"] < 200
    assert tops[0]["y"] + tops[0]["height"] <= tops[1]["y"] and tops[1]["y"] + tops[1]["height"] <= 844
    context.close()


def test_no_bundle_for_charts_or_code_is_loaded_before_one_is_opened(chromium, app_url):
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    page = context.new_page()
    loaded = []
    page.on("request", lambda request: loaded.append(request.url))
    page.goto(app_url)
    wait_for_lens(page)

    def bundles(*names: str) -> list[bool]:
        return [any(name in url for url in loaded) for name in names]

    assert bundles("BidiComponent", "PlotlyChart", "SyntaxHighlighter") == [True, False, False]
    link = page.get_by_role("button", name="Link to this view").bounding_box()
    shown = page.locator(".lens").bounding_box()
    assert abs(link["x"] + link["width"] - shown["x"] - shown["width"]) < 2  # both end at the same edge
    page.get_by_role("tab", name="Maps").click()
    page.get_by_alt_text("retained map of pixel 1").wait_for()
    page.get_by_role("tab", name="Chart").click()
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    page.get_by_text("A caption to copy").click()
    page.get_by_test_id("stCode").wait_for()
    assert bundles("PlotlyChart", "SyntaxHighlighter") == [True, True]
    context.close()


@pytest.mark.parametrize("path", ["figures", "noise_report", "lesson", "models"])
def test_no_page_loads_what_colours_code_before_some_is_opened(chromium, app_url, path):
    context = chromium.new_context()
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    page = context.new_page()
    loaded = []
    page.on("request", lambda request: loaded.append(request.url))
    page.goto(f"{app_url}/{path}")
    page.get_by_role("heading").first.wait_for()
    wait_until_settled(page)
    assert loaded and not any("SyntaxHighlighter" in url for url in loaded)
    context.close()


def table(page) -> list[str]:
    """The table's text, a line a row."""
    return page.locator(".pins tbody tr").all_inner_texts()


def pixels(page) -> list[tuple[int, int]]:
    words = page.locator(".pins tbody small").all_inner_texts()
    return [tuple(map(int, re.fullmatch(r"row (\d+), column (\d+)", text).groups())) for text in words]


def click_pixel(page, y: int, x: int) -> None:
    """Click the middle of pixel (y, x) of a photo of 360×480."""
    box = page.locator("[data-panel=photo] canvas").first.bounding_box()
    page.mouse.click(box["x"] + (x + 0.5) / 480 * box["width"], box["y"] + (y + 0.5) / 360 * box["height"])


def go_to(page, name: str, heading: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    page.get_by_role("heading", name=heading).wait_for()
    wait_until_settled(page)


def test_clicks_fill_the_table_and_the_address_and_outlive_a_change_of_page(browse, app_url):
    page = browse(app_url)
    assert len(pixels(page)) == 1 and "pins" not in page.url
    for count, (y, x) in enumerate(((230, 120), (300, 400)), start=1):
        click_pixel(page, y, x)
        page.wait_for_function(f"document.querySelectorAll('.pins tbody .number').length === {count}")
    wait_until_settled(page)
    np.testing.assert_allclose(pixels(page), [(230, 120), (300, 400)], atol=1)
    assert "pins=" + "_".join(f"{y}.{x}" for y, x in pixels(page)) in page.url
    before, address = table(page), page.url
    go_to(page, "Lesson", "Softmax attention by hand")
    assert page.url.endswith("/lesson?step=1")
    go_to(page, "Explorer", "Where does one pixel look?")
    wait_for_lens(page)
    assert table(page) == before and page.url == address


def test_a_link_opens_the_same_view_in_another_browser(browse, app_url):
    first = browse(f"{app_url}/?{VIEW}")
    assert pixels(first) == [(210, 180), (290, 240)]
    first.locator("[data-choice=retention] input[value=box]").check()
    wait_until_settled(first)
    first.wait_for_function("location.search.includes('retention=box')")
    second = browse(first.url)
    assert second.url == first.url and table(second) == table(first)
    for choice in ("gate] input[value=binary", "retention] input[value=box"):
        assert second.locator(f"[data-choice={choice}]").is_checked()
    shown = [
        page.locator("[data-panel=retained] [data-figure=interclassNoise]").inner_text() for page in (first, second)
    ]
    assert shown[0] == shown[1]
    second.get_by_role("button", name="Link to this view").click()
    code = second.get_by_test_id("stCode").filter(has_text="http")
    code.wait_for()
    assert code.inner_text().strip() == first.url


def test_a_link_with_nonsense_is_followed_as_far_as_it_goes(browse, app_url):
    page = browse(f"{app_url}/?image=street-5&pins=210.180_999.1&gate=fancy&model=../x")
    assert pixels(page) == [(210, 180)]
    page.get_by_test_id("stAlert").filter(has_text="gate=fancy").wait_for()
    words = page.get_by_test_id("stAlert").all_inner_texts()
    assert any("gate=fancy" in text and "model=../x" in text for text in words)
    assert any("pin 999.1" in text for text in words)
    assert page.url.endswith("?image=street-5&model=camvid-dnl&pins=210.180")


def test_every_file_comes_and_opens_again(browse, app_url):
    page = browse(f"{app_url}/?{VIEW}")
    for kind, start in (("PDF", b"%PDF"), ("SVG", b"<?xml"), ("PNG", b"\x89PNG")):
        name, content = downloaded(page, f"Figure ({kind})")
        assert name == f"attention-street-5.{kind.lower()}" and content.startswith(start)
    assert Image.open(io.BytesIO(content)).width == round(7.16 * 300)
    _, content = downloaded(page, "Figures (CSV)")
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert [(row["pin"], row["stage"]) for row in rows[:4]] == [
        ("1", "raw"),
        ("1", "rectified"),
        ("1", "retained"),
        ("2", "raw"),
    ]
    shown = page.locator('.pins tr[data-pin="2"][data-stage=raw] [data-figure=intraclass_noise]').inner_text()
    assert f"{float(rows[3]['intraclass_noise']):.3f}" == shown
    _, content = downloaded(page, "Figures (JSON)")
    found = json.loads(content)
    (options,) = found["provenance"]["options"]
    assert (options["image"], options["source"], options["gate"]) == ("Street 5", "camvid-dnl", "binary")
    assert len(found["pins"]) == 2
    _, content = downloaded(page, "Maps (NPZ)")
    assert np.load(io.BytesIO(content))["retained"].shape == (2, 45, 60)
    name, content = downloaded(page, "Lens (HTML)")
    assert name == "lens-street-5.html" and content.startswith(b"<!doctype html>") and len(content) < 6e6
    assert found["provenance"]["sources"][0]["sha256"].encode() in content


def test_several_images_come_as_one_file(browse, app_url):
    page = browse(f"{app_url}/?{VIEW}")
    page.get_by_text("Several images at once").click()
    chosen = page.get_by_test_id("stMultiSelect")
    chosen.get_by_role("button", name="Clear all").click()
    wait_until_settled(page)
    for number in (2, 7):
        choose_option(chosen, f"Street {number}")
        wait_until_settled(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Make the files").click()
    page.get_by_role("button", name="Download the zip file").wait_for()
    _, content = downloaded(page, "Download the zip file")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["street-2.pdf", "street-7.pdf", "pins.csv", "provenance.json"]
        rows = list(csv.DictReader(io.StringIO(archive.read("pins.csv").decode())))
    assert {(row["image"], row["y"], row["x"]) for row in rows} == {
        (name, y, x) for name in ("Street 2", "Street 7") for y, x in (("210", "180"), ("290", "240"))
    }


def test_two_models_stand_side_by_side(browse, app_url):
    page = browse(f"{app_url}/?{VIEW}&with=untrained")
    rows = page.locator(".pins tbody").first.locator("tr").all_inner_texts()
    assert len(rows) == 6 and "camvid-dnl" in rows[0] and "untrained" in rows[3]
    assert rows[0].split()[-7:] != rows[3].split()[-7:]
    assert page.locator("[data-panel=raw] canvas").count() + page.locator("[data-model] canvas").count() >= 2


def test_a_photo_of_one_s_own_is_measured_and_is_in_no_link(browse, app_url):
    page = browse(app_url)
    choose(page, "Image", "Your photo")
    upload(page, 0, "mine.png", png(np.random.default_rng(0).integers(0, 256, (96, 200, 3), dtype=np.uint8)))
    page.get_by_text("everything is measured against the model's own prediction").wait_for()
    wait_for_lens(page)
    assert page.url.endswith("?model=camvid-dnl")
    page.get_by_role("button", name="Link to this view").click()
    page.get_by_text("A link cannot carry your own file").wait_for()


def test_the_browser_s_back_undoes_one_change_at_a_time_however_soon(browse, app_url):
    page = browse(f"{app_url}/?image=street-2&model=camvid-dnl")
    addresses = [page.url]
    for count, x in enumerate((60, 200, 350), start=1):
        click_pixel(page, 250, x)
        page.wait_for_function(f"location.search.split('_').length === {count} && location.search.includes('pins')")
        addresses.append(page.url)
    for count, address in ((2, addresses[2]), (1, addresses[1]), (0, addresses[0])):
        page.go_back()
        expect(page.locator(".lens .pins li")).to_have_count(count)
        wait_until_settled(page)
        assert page.url == address


def test_one_photo_after_another_is_shown_and_no_street_comes_in_between(browse, app_url):
    page = browse(app_url)
    choose(page, "Image", "Your photo")
    for number in range(5):
        name = f"photo-{number}.png"
        noise = np.random.default_rng(number).integers(0, 256, (96, 120 + 8 * number, 3), dtype=np.uint8)
        upload(page, 0, name, png(noise))
        page.locator("[data-panel=photo] figcaption").get_by_text(name).wait_for()
        wait_until_settled(page)
        assert page.url.endswith("?model=camvid-dnl")
