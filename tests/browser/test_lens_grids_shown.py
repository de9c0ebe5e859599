"""What the lens shows of keys on a grid of their own, patches within a crop and queries without a place."""

import dataclasses

import numpy as np
import pytest

from analysis.geometry import Grid
from analysis.lens import asking_for, pack_capture, standalone_html
from tests.browser.test_lens_grids import figures_of, keys_elsewhere, object_queries, raw_rows

pytestmark = pytest.mark.browser

SIZE, CROP = (47, 83), (2, 5, 40, 70)
SHOWN = {
    "interclassNoise": "interclass_noise",
    "intraclassNoise": "intraclass_noise",
    "hollowFraction": "hollow_fraction",
    "keptMass": "kept_mass",
}


def expected_figures(capture, query: int) -> dict[str, float | None]:
    own = capture.reference_labels.flat[query]
    found = figures_of(raw_rows(capture)[query], capture.key_labels.ravel(), own)
    return {name: None if np.isnan(found[of]) else pytest.approx(found[of], abs=1e-6) for name, of in SHOWN.items()}


def colours_at(lens, panel: str, points) -> np.ndarray:
    """RGB of a panel's canvas at image points (y, x), in a lens that shows the whole image."""
    lens.settle()
    script = """(canvas, [points, [height, width]]) => points.map(([y, x]) => Array.from(canvas.getContext("2d")
        .getImageData(Math.floor((x / width) * canvas.width), Math.floor((y / height) * canvas.height), 1, 1)
        .data.slice(0, 3)))"""
    return np.array(lens.canvas(panel).evaluate(script, [points, SIZE]), float)


# --- keys that are other cells than the queries ----------------------------------------------------------------------


def test_the_pixel_under_the_pointer_is_a_query_and_its_row_lies_on_the_keys(lens_page):
    capture = keys_elsewhere()
    lens = lens_page(pack_capture(capture))
    for y, x in ((20, 30), (2, 5), (41, 74), (33, 60)):
        lens.page.mouse.move(*lens.point("raw", y, x, SIZE))
        assert lens.pixel() == [y, x]
        assert lens.figures("raw") == expected_figures(capture, capture.cell_at(y, x))
    row, column = capture.grid.cell_at(33, 60)
    place = lens.page.locator(".readout .place").inner_text().replace("\N{NO-BREAK SPACE}", " ")
    assert place == f"row 33, column 60 (cell in row {row}, column {column})"
    dropped = round(100 * float(capture.dropped[row, column]))
    note = lens.page.locator(".about .note").first.inner_text().replace("\N{NO-BREAK SPACE}", " ")
    assert note.startswith(f"{dropped} % of its attention goes to tokens that are no cells")


def test_a_map_has_one_colour_a_key(lens_page):
    capture = keys_elsewhere()
    look = {"photoOpacity": 0, "outline": False, "scale": "weight", "colormap": "greys"}
    lens = lens_page(asking_for(pack_capture(capture), {"id": 1, "pins": [[40, 70]], "look": look}))
    left, _, _, top = capture.key_grid.extent()
    height, width = CROP[2] / 4, CROP[3] / 7
    row = raw_rows(capture)[capture.cell_at(40, 70)].reshape(4, 7)
    cells = [(y, x) for y in range(4) for x in range(6)]  # not those under the pin
    for across, down in ((0.15, 0.2), (0.85, 0.8)):
        points = [(top + 0.5 + (y + down) * height, left + 0.5 + (x + across) * width) for y, x in cells]
        found = colours_at(lens, "raw", points)[:, 0]
        np.testing.assert_allclose(found, [min(255, 255 * row[cell] / row.max()) for cell in cells], atol=3)


def test_columns_lie_on_the_queries(lens_page):
    capture = keys_elsewhere()
    lens = lens_page(asking_for(pack_capture(capture), {"id": 1, "pins": [[20, 30]]}))
    lens.choose("direction", "column")
    lens.page.locator("[data-panel=raw]", has_text="from other classes").wait_for()
    key = capture.key_grid.cell_at(20, 30)
    column = raw_rows(capture)[:, key[0] * 7 + key[1]]
    expected = figures_of(column, capture.cell_labels.ravel(), capture.key_labels[key])
    found = lens.figures("raw")
    assert found["keptMass"] == pytest.approx(expected["kept_mass"], rel=1e-6)
    assert found["interclassNoise"] == pytest.approx(expected["interclass_noise"], rel=1e-6)
    lens.canvas("photo").focus()
    lens.page.keyboard.press("ArrowRight")  # to the next key
    lens.settle()
    assert capture.key_grid.cell_at(*lens.pixel()) == (key[0], key[1] + 1)
    lens.page.keyboard.press("r")
    lens.page.keyboard.press("ArrowRight")  # to the next query
    lens.settle()
    first = Grid(SIZE, (9, 12), "blocks", CROP).cell_at(*capture.key_grid.pixel_at(key[0], key[1] + 1))
    assert capture.grid.cell_at(*lens.pixel()) == (first[0], first[1] + 1)


def test_what_cannot_be_had_is_disabled_and_says_why(lens_page):
    lens = lens_page(pack_capture(keys_elsewhere()))
    for name, value in (("gate", "sigmoid"), ("gate", "oracle"), ("retention", "learnt")):
        button = lens.page.locator(f"[data-choice={name}] input[value={value}]")
        assert button.is_disabled()
        assert "the keys are other cells" in button.locator("..").get_attribute("title")
    assert lens.page.locator("[data-choice=gate] input[value=off]").is_checked()
    assert "There are 9×12 queries and 4×7 keys." in lens.page.locator(".about").inner_text()
    lens.choose("retention", "box")
    assert lens.figures("retained")["keptMass"] != lens.figures("raw")["keptMass"]


@pytest.mark.parametrize("direction", ["row", "column"])
def test_a_class_s_mean_is_that_of_the_cells_that_are_asked_about(lens_page, direction):
    capture = keys_elsewhere()
    lens = lens_page(pack_capture(capture))
    lens.choose("direction", direction)
    lens.page.get_by_role("list", name="Classes").get_by_role("button", name="b", exact=True).click()
    labels = capture.cell_labels if direction == "row" else capture.key_labels
    lens.page.locator(".about").get_by_text(f"The mean over {(labels == 1).sum()} cells of b").wait_for()
    lens.choose("direction", "column" if direction == "row" else "row")  # a region of the other grid's cells
    lens.settle()
    assert lens.page.locator(".state").inner_text() == "Example"


def test_the_brush_paints_queries(lens_page):
    lens = lens_page(pack_capture(keys_elsewhere()))
    lens.page.get_by_role("button", name="Brush").click()
    lens.page.mouse.move(*lens.point("photo", 20, 20, SIZE))
    lens.page.mouse.down()
    lens.page.mouse.move(*lens.point("photo", 20, 50, SIZE), steps=10)
    lens.page.mouse.up()
    lens.page.locator(".about").get_by_text("The mean over").wait_for()
    assert 12 <= int(lens.page.locator(".readout .place").inner_text().split()[0]) <= 40
    assert "of their attention goes to tokens" in lens.page.locator(".about").inner_text()


# --- a crop ----------------------------------------------------------------------------------------------------------


def test_a_pointer_off_the_crop_shows_the_nearest_pixel_that_the_model_saw(lens_page):
    capture = keys_elsewhere()
    lens = lens_page(pack_capture(capture))
    for (y, x), nearest in {(0, 0): [2, 5], (46, 30): [41, 30], (20, 82): [20, 74]}.items():
        lens.page.mouse.move(*lens.point("photo", y, x, SIZE))
        assert lens.pixel() == nearest
        assert lens.figures("raw") == expected_figures(capture, capture.cell_at(*nearest))
    lens.click("photo", 20, 82, SIZE)
    assert lens.pins() == [[20, 74]]


def test_what_the_model_did_not_see_is_dimmed(lens_page):
    capture = keys_elsewhere(image=np.full((*SIZE, 3), 200, np.uint8))
    lens = lens_page(pack_capture(capture))
    for panel in ("photo", "raw"):
        outside = colours_at(lens, panel, [(0.8, 40), (45, 40), (20, 2), (20, 80)])
        np.testing.assert_allclose(outside, 200 * 0.35, atol=2)
    np.testing.assert_allclose(colours_at(lens, "photo", [(4, 8), (40, 72)]), 200, atol=2)


def test_pins_off_the_crop_do_not_count(lens_page):
    capture = keys_elsewhere()
    whole = dataclasses.replace(capture, crop=None)
    lens = lens_page(asking_for(pack_capture(whole), {"id": 1, "pins": [[0, 0], [20, 30], [46, 82]]}))
    assert lens.chips().count() == 3
    lens.show(pack_capture(capture))  # another model of the image
    assert lens.chips().count() == 1 and lens.pixel() == [20, 30]
    lens.show(asking_for(pack_capture(capture), {"id": 2, "pins": [[0, 0], [4, 8]]}))
    assert lens.chips().count() == 1 and lens.pixel() == [4, 8]


def test_two_models_are_asked_where_both_saw_the_image(lens_page):
    first, second = keys_elsewhere(), keys_elsewhere(crop=(0, 20, 30, 60), dropped=None)
    lens = lens_page(pack_capture(first, second, names=("one", "two")))
    lens.page.mouse.move(*lens.point("photo", 46, 0, SIZE))
    assert lens.pixel() == [29, 20]
    for index, capture in enumerate((first, second)):
        assert lens.figures("raw", index) == expected_figures(capture, capture.cell_at(29, 20))


# --- queries without a place -----------------------------------------------------------------------------------------


def chosen(lens) -> str:
    lens.settle()
    return lens.page.locator(".readout strong").inner_text()


def test_a_query_without_a_place_is_chosen_from_the_list(lens_page):
    capture = object_queries()
    lens = lens_page(pack_capture(capture))
    assert lens.page.locator("[data-panel=photo]").get_by_text("The queries have no place on the image").is_visible()
    assert chosen(lens) == "object 0"
    choice = lens.page.locator("select[name=query]")
    assert choice.locator("option").all_inner_texts() == list(capture.query_names)
    choice.select_option("object 3")
    assert chosen(lens) == "object 3" and lens.page.locator(".state").inner_text() == "Chosen"
    assert lens.figures("raw") == expected_figures(capture, 3)
    assert lens.page.locator(".readout .place").inner_text() == "query 4 of 10"
    lens.page.mouse.move(*lens.point("photo", 20, 30, SIZE))  # the pointer has nothing to say here
    lens.page.mouse.move(2, 2)
    assert chosen(lens) == "object 3"
    lens.click("raw", 20, 30, SIZE)
    assert lens.pins() == [] and "from the list" in lens.page.locator(".status").inner_text()
    choice.select_option("object 4")
    assert lens.figures("raw") == dict.fromkeys(SHOWN)
    words = lens.page.locator(".sentence").inner_text()
    assert "of its raw attention falls on" in words and "What it looks for is not known" in words


def test_the_list_and_the_panels_are_worked_by_the_keyboard(lens_page):
    lens = lens_page(pack_capture(object_queries()))
    lens.page.locator("select[name=query]").focus()
    lens.page.keyboard.press("ArrowDown")
    assert chosen(lens) == "object 1"
    lens.canvas("photo").focus()
    lens.page.keyboard.press("ArrowRight")
    lens.page.keyboard.press("ArrowDown")
    assert chosen(lens) == "object 3" and lens.page.locator("select[name=query]").input_value() == "3"
    lens.page.keyboard.press("Enter")
    assert chosen(lens) == "object 3" and lens.pins() == [[0, 3]]
    for _ in range(9):
        lens.page.keyboard.press("ArrowRight")
    assert chosen(lens) == "object 9"
    lens.page.keyboard.press("Escape")
    assert chosen(lens) == "object 3" and lens.page.locator("select[name=query]").input_value() == "3"
    lens.page.keyboard.press("r")
    lens.settle()
    assert "these have no place" in lens.page.locator(".status").inner_text()
    lens.page.keyboard.press("Delete")
    assert lens.pins() == [] and chosen(lens) == "object 0"


def test_pins_of_queries_without_a_place_hold_their_number(lens_page):
    buffer = pack_capture(object_queries())
    lens = lens_page(asking_for(buffer, {"id": 1, "pins": [[0, 7], [0, 10], [3, 3]], "look": {"direction": "column"}}))
    assert lens.chips().all_inner_texts() == ["1\nobject 7\n×"] and chosen(lens) == "object 7"
    lens.page.locator("select[name=query]").select_option("object 2")
    lens.page.get_by_role("button", name="Pin", exact=True).click()
    assert lens.pins() == [[0, 7], [0, 2]]
    assert lens.page.locator("[data-choice=direction] input[value=column]").is_disabled()
    assert lens.page.locator("[data-choice=direction] input[value=row]").is_checked()
    assert lens.page.get_by_role("button", name="Brush").is_disabled()


def test_noisiest_queries_and_classes_of_queries_without_a_place(lens_page):
    capture = object_queries()
    lens = lens_page(pack_capture(capture))
    lens.page.get_by_role("button", name="Noisiest queries").click()
    first = lens.page.locator(".noisiest button").first
    rows, classes, labels = raw_rows(capture), capture.key_labels.ravel(), capture.cell_labels.ravel()
    noise = [figures_of(row, classes, own)["interclass_noise"] for row, own in zip(rows, labels, strict=True)]
    first.wait_for()
    assert first.inner_text().startswith(f"object {np.nanargmax(noise)} → ")
    first.click()
    assert lens.pins() == [[0, int(np.nanargmax(noise))]]
    lens.page.get_by_role("list", name="Classes").get_by_role("button", name="c", exact=True).click()
    lens.page.locator(".about").get_by_text("The mean over 3 queries of c").wait_for()


def test_a_file_of_its_own_shows_them_too(lens_page, chromium, tmp_path):
    file = tmp_path / "lens.html"
    file.write_bytes(standalone_html(pack_capture(object_queries()), title="queries", provenance={}))
    page = chromium.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector(".lens[data-pixel]")
    page.locator("select[name=query]").select_option("object 5")
    page.wait_for_selector(".lens[data-pixel='0 5']")
    page.close()


def test_lists_fit_a_phone(lens_page):
    names = tuple(f"object query {number} with a name that is long" for number in range(10))
    lens = lens_page(pack_capture(object_queries(query_names=names)), viewport={"width": 390, "height": 844})
    assert lens.page.evaluate("document.documentElement.scrollWidth") <= 390
