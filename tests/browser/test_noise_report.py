"""The noise map in a real browser: its geometry against Python's, and a click that opens its pixel in the Explorer."""

import numpy as np
import pytest

from analysis import Capture
from analysis.geometry import cell_to_pixel, pixel_to_cell
from analysis.lens.noise_map import CSS, HTML, SCRIPT, noise_map_data
from analysis.measure import MeasureOptions, measure_capture
from dnl.classes import LabelSet
from tests.browser.widgets import PATIENCE_SECONDS, TRANSLATE, choose, choose_option, png, upload, wait_until_settled

pytestmark = pytest.mark.browser

SIZE = (96, 160)  # of the photo: few cells, so that the report is a matter of a moment


@pytest.mark.parametrize(("size", "cells"), [((47, 83), (6, 11)), ((360, 480), (45, 60)), ((5, 40), (1, 3))])
def test_pixels_and_cells_lie_on_each_other_as_in_python(chromium, size, cells):
    page = chromium.new_page()
    found = page.evaluate(
        """async ({ script, size, cells }) => {
          const map = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
          const all = (count) => Array.from({ length: count }, (_, index) => index);
          return [0, 1].map((side) => ({
            cellOf: all(size[side]).map((pixel) => map.pixelToCell(pixel, size[side], cells[side])),
            pixelOf: all(cells[side]).map((cell) => map.cellToPixel(cell, size[side], cells[side])),
          }));
        }""",
        {"script": SCRIPT, "size": size, "cells": cells},
    )
    page.close()
    assert found[0]["cellOf"] == [pixel_to_cell(y, 0, size, cells)[0] for y in range(size[0])]
    assert found[1]["cellOf"] == [pixel_to_cell(0, x, size, cells)[1] for x in range(size[1])]
    assert found[0]["pixelOf"] == [cell_to_pixel(row, 0, size, cells)[0] for row in range(cells[0])]
    assert found[1]["pixelOf"] == [cell_to_pixel(0, column, size, cells)[1] for column in range(cells[1])]


def test_patches_within_a_crop_are_painted_and_picked_where_they_lie(chromium):
    """4×6 patches within a crop of a white photo; the pointer off it has the nearest patch."""
    rng = np.random.default_rng(0)
    capture = Capture(
        *rng.normal(size=(2, 3, 4, 6)).astype(np.float32),
        image=np.full((50, 90, 3), 255, np.uint8),
        labels=np.repeat(np.arange(90) // 30, 50).reshape(90, 50).T.astype(np.uint8),
        label_set=LabelSet("three", ("a", "b", "c"), ((0, 0, 0),) * 3, ignore_index=9),
        placement="blocks",
        crop=(6, 12, 40, 60),
    )
    report = measure_capture(capture, MeasureOptions(), detection=False)
    page = chromium.new_page(viewport={"width": 900, "height": 600})
    page.set_content(f"<style>{CSS}</style><div style='width: 900px'>{HTML}</div>")
    page.evaluate(
        """async ([script, data]) => {
          const map = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
          const setTriggerValue = (name, value) => (window.picked = value);
          map.default({ data, parentElement: document.body, setTriggerValue });
        }""",
        [SCRIPT, noise_map_data(capture, report, "raw", "interclass_noise", words="noise")],
    )
    canvas = page.locator(".noise-map canvas").first
    page.wait_for_function("document.querySelector('.noise-map canvas').width > 300")
    page.wait_for_timeout(200)
    box = canvas.bounding_box()
    for y, x, nearest in ((6, 12, (6, 12)), (15, 40, (15, 40)), (0, 89, (6, 71)), (49, 30, (45, 30))):
        canvas.hover(position={"x": (x + 0.5) / 90 * box["width"], "y": (y + 0.5) / 50 * box["height"]})
        assert int(page.locator(".noise-map").get_attribute("data-cell")) == capture.cell_at(*nearest)
        page.mouse.down()
        page.mouse.up()
        assert page.evaluate("picked") == pytest.approx(nearest, abs=0)
    page.mouse.move(899, 599)
    colours = canvas.evaluate(
        """(canvas, points) => points.map(([y, x]) => Array.from(canvas.getContext("2d").getImageData(
          Math.floor((x / 90) * canvas.width), Math.floor((y / 50) * canvas.height), 1, 1).data.slice(0, 3)))""",
        [[3, 40], [48, 40], [25, 6], [25, 80], [7, 13], [7, 23], [17, 13]],
    )
    assert colours[:4] == [[89, 89, 89]] * 4
    inside = [tuple(colour) for colour in colours[4:]]
    assert len({*inside, (89, 89, 89)}) == 4  # three patches
    page.close()


def upload_photo_with_labels(page) -> None:
    """Show the Explorer a photo whose left part is sky and whose right part is road, with a strip of no label."""
    photo = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    labels = np.zeros(SIZE, np.uint8)
    labels[:, 64:] = 3
    labels[80:, :] = 255
    choose(page, "Image", "Your photo")
    for place, (name, array) in enumerate((("photo.png", photo), ("labels.png", labels))):
        upload(page, place, name, png(array))
        page.locator("[data-panel=photo] figcaption").get_by_text("photo.png", exact=True).wait_for()
    page.get_by_text("No labels: measured").wait_for(state="detached")


def test_a_click_on_the_noise_map_opens_that_pixel_in_the_explorer(chromium, app_url):
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(1000 * PATIENCE_SECONDS)
    page.goto(app_url)
    page.locator(".lens[data-pixel]").wait_for()
    upload_photo_with_labels(page)
    page.get_by_role("link", name="Noise report").click()

    # Measured on arrival, on the photo that the Explorer shows.
    canvas = page.locator(".noise-map canvas").first
    canvas.wait_for()
    page.get_by_role("button", name="Summary (JSON)").wait_for()  # all is measured,
    page.locator(".js-plotly-plot:has(.main-svg)").nth(2).wait_for()  # and no chart above the map moves it any more
    assert page.get_by_text("of its mass on other classes").count() == 1

    # The noisiest queries, translated by the browser, are those of the stage that is chosen then. Some are in both.
    noisiest = page.locator("[class*=st-key-noise-worst-][class*=-words]")
    raw = noisiest.all_inner_texts()
    for number in range(1, 9):
        page.evaluate(TRANSLATE, f"[class*=st-key-noise-worst-{number}-words]")
    assert len(raw) == 8 and all("«" in text for text in noisiest.all_inner_texts())
    stage = page.get_by_test_id("stSelectbox").filter(has=page.get_by_role("combobox", name="Stage", exact=True))
    choose_option(stage, "retained (LR)")
    renewed = noisiest.filter(has_not_text="«")
    renewed.first.wait_for()
    assert not set(renewed.all_inner_texts()) & set(raw)
    choose_option(stage, "raw")
    wait_until_settled(page)  # what comes with the stage puts the readout back

    box = canvas.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(SIZE[1] / SIZE[0], rel=0.02)
    road = {"x": 0.75 * box["width"], "y": 0.25 * box["height"]}
    readout = page.locator(".noise-map .readout")
    canvas.hover(position=road)
    readout.filter(has_text="Road: interclass noise 0.").wait_for()
    canvas.hover(position={**road, "y": 0.98 * box["height"]})
    readout.filter(has_text="no label here").wait_for()
    canvas.click(position=road)

    page.locator(".lens[data-pixel]").wait_for()
    page.get_by_role("heading", name="The pinned pixel").wait_for()
    page.locator(".pins tbody", has_text="Road").wait_for()
    page.locator("[data-panel=photo] figcaption").get_by_text("photo.png", exact=True).wait_for()
    pinned = [int(side) for side in page.locator(".lens").get_attribute("data-pixel").split()]
    assert pinned == pytest.approx([0.25 * SIZE[0], 0.75 * SIZE[1]], abs=1)
    assert page.locator("[data-panel=photo] .state").inner_text() == "Pinned"
    page.close()
