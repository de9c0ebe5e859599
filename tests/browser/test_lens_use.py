"""The lens in use, on a page of its own: what it shows against Python's figures, and what it reports."""

import dataclasses
import itertools

import matplotlib
import numpy as np
import pytest

from analysis.geometry import cell_to_pixel, pixel_to_cell
from analysis.lens import asking_for, chosen_pixels, image_id, known_look, pack_capture, row_options
from analysis.maps import attention_rows
from analysis.noise import query_metrics

pytestmark = pytest.mark.browser

STAGES = ("raw", "rectified", "retained")
SIZE, CELLS = (360, 480), (45, 60)
METRICS = {
    "interclassNoise": "interclass_noise",
    "intraclassNoise": "intraclass_noise",
    "hollowFraction": "hollow_fraction",
    "keptMass": "kept_mass",
}


@pytest.fixture(scope="session")
def buffer(street):
    return pack_capture(street, health={"state": "alive", "sentence": "Alive: it is used."}, names=("small",))


@pytest.fixture(scope="session")
def tall(street):
    """A capture of 25×12 cells over an image of 200×90 pixels."""
    return dataclasses.replace(
        street,
        query=street.query[:, :25, :12].copy(),
        key=street.key[:, :25, :12].copy(),
        class_probs=street.class_probs[:, :25, :12].copy(),
        image=street.image[:200, :90].copy(),
        labels=street.labels[100:300, 100:190].copy(),
        prediction=street.prediction[100:300, 100:190].copy(),
    )


@pytest.fixture
def lens(lens_page, buffer):
    return lens_page(buffer)


def cell_of(pixel) -> int:
    row, column = pixel_to_cell(*pixel, SIZE, CELLS)
    return row * CELLS[1] + column


def expected_figures(capture, stage: str, cell: int, **options) -> dict[str, float | None]:
    row = getattr(attention_rows(capture, [cell], **options), stage)
    metrics = query_metrics(row, capture.cell_labels, [cell], ignore_index=capture.ignore_index)
    values = {name: float(getattr(metrics, field)[0]) for name, field in METRICS.items()}
    return {name: None if np.isnan(value) else pytest.approx(value, abs=1e-6) for name, value in values.items()}


def click(lens, panel: str, y: int, x: int, size=SIZE) -> None:
    """A click on a pixel, and the pointer goes away."""
    lens.page.mouse.click(*lens.point(panel, y, x, size))
    lens.page.mouse.move(2, 2)


def choose(lens, name: str, value) -> None:
    lens.page.locator(f"[data-choice={name}] input[value='{value}']").check()


def open_options(lens) -> None:
    lens.page.get_by_text("More options").click()


def pins(lens) -> list[list[int]]:
    return next(iter((lens.reported("pins") or {"": []}).values()))


def chips(lens):
    return lens.page.get_by_role("list", name="Pins").get_by_role("listitem")


# --- pins ------------------------------------------------------------------------------------------------------------


def test_pins_are_numbered_reported_removed_and_undone(lens, street):
    places = [(40, 60), (300, 240), (200, 400)]
    for panel, place in zip(("photo", "raw", "retained"), places, strict=True):
        click(lens, panel, *place)
    assert np.abs(np.array(pins(lens)) - places).max() <= 2
    assert list(lens.reported("pins")) == [image_id(street)]
    assert [chip.locator("b").inner_text() for chip in chips(lens).all()] == ["1", "2", "3"]
    assert lens.pixel() == pins(lens)[2]  # the one last touched

    click(lens, "rectified", *places[1])
    assert lens.pixel() == pins(lens)[1] and chips(lens).count() == 2
    assert np.abs(np.array(pins(lens)) - [places[0], places[2]]).max() <= 2
    lens.page.get_by_role("button", name="Undo").click()
    assert chips(lens).count() == 3 and chosen_pixels(street, lens.reported("pins")) == [tuple(p) for p in pins(lens)]
    lens.page.keyboard.press("Control+z")
    lens.page.keyboard.press("Control+z")
    assert chips(lens).count() == 1
    lens.page.keyboard.press("Control+z")
    assert pins(lens) == [] and lens.page.get_by_role("button", name="Undo").is_disabled()
    assert lens.page.get_by_text("click to pin").is_visible()


def test_the_active_pin_is_shown_when_nothing_is_hovered(lens):
    for place in ((40, 60), (300, 240)):
        click(lens, "photo", *place)
    first, second = pins(lens)
    lens.page.mouse.move(*lens.point("raw", 100, 100, SIZE))
    assert lens.pixel() == pytest.approx([100, 100], abs=1)
    lens.page.mouse.move(2, 2)
    assert lens.pixel() == second
    chips(lens).first.get_by_role("button").first.click()
    assert lens.pixel() == first
    lens.canvas("photo").focus()
    lens.page.keyboard.press("2")
    assert lens.pixel() == second
    lens.page.keyboard.press("Delete")
    assert pins(lens) == [first] and lens.pixel() == first
    chips(lens).first.get_by_role("button", name="Remove pin 1").click()
    assert pins(lens) == []


def test_a_ninth_pin_is_refused_in_words(lens):
    for x in range(9):
        click(lens, "photo", 100, 30 + 50 * x)
    assert len(pins(lens)) == 8
    assert "8 pins are all there are" in lens.page.get_by_role("status").inner_text()


def test_a_request_sets_pins_choices_and_look_once(lens_page, buffer):
    wish = {
        "id": "a",
        "pins": [[10, 20], [350, 470]],
        "choices": {"gate": "binary", "kernel": 5, "temperature": 2.0},
        "look": {"direction": "column", "scale": "log", "colormap": "viridis"},
    }
    lens = lens_page(asking_for(buffer, wish))
    assert lens.pixel() == [10, 20] and chips(lens).count() == 2
    assert lens.page.locator("[data-choice=gate] input[value=binary]").is_checked()
    assert lens.page.locator("[data-choice=direction] input[value=column]").is_checked()
    assert lens.page.locator("select[name=scale]").input_value() == "log"
    assert lens.reported("pins") is None  # nothing is reported but what the user does
    chips(lens).first.get_by_role("button", name="Remove").click()
    lens.show(asking_for(buffer, wish))
    assert chips(lens).count() == 1


def test_a_request_of_nonsense_changes_nothing(lens_page, buffer):
    wish = {
        "id": "a",
        "pins": [[-1, 5], [5, 480], ["1", 2], None, [1.5, 2], [7, 8], {"y": 1}],
        "choices": {"gate": "<b>", "kernel": 4, "temperature": 1e9, "retention": 3},
        "look": {"clip": 2, "scale": "no", "range": None, "colormap": "javascript:", "hollows": "yes", "direction": 1},
    }
    lens = lens_page(asking_for(buffer, wish))
    assert lens.pixel() == [7, 8] and chips(lens).count() == 1
    assert lens.page.locator("[data-choice=gate] input[value=sigmoid]").is_checked()
    open_options(lens)
    assert lens.page.locator("select[name=colormap]").input_value() == "magma"
    assert lens.page.locator("[data-choice=kernel] input[value='3']").is_checked()


# --- keyboard and touch ----------------------------------------------------------------------------------------------


def test_every_key_has_its_effect(lens):
    canvas = lens.canvas("photo")
    canvas.focus()
    start = cell_of(lens.pixel())
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp"):
        lens.page.keyboard.press(key)
    assert cell_of(lens.pixel()) == start - 1 - 2 * CELLS[1]
    assert (
        lens.page.locator("[aria-live=polite]").inner_text().startswith(lens.page.locator(".about strong").inner_text())
    )
    lens.page.keyboard.press("Enter")
    assert [cell_of(pin) for pin in pins(lens)] == [start - 1 - 2 * CELLS[1]]
    lens.page.keyboard.press("r")
    assert lens.reported("look")["direction"] == "column"
    assert lens.page.locator("[data-choice=direction] input[value=column]").is_checked()
    lens.page.keyboard.press("R")
    assert lens.reported("look")["direction"] == "row"
    lens.page.keyboard.press("ArrowRight")
    lens.page.keyboard.press("Escape")
    assert lens.pixel() == pins(lens)[0]
    lens.page.keyboard.press("+")
    assert lens.page.get_by_role("button", name="Show the whole image").is_enabled()
    lens.page.keyboard.press("0")
    assert lens.page.get_by_role("button", name="Show the whole image").is_disabled()
    lens.page.keyboard.press("Delete")
    assert pins(lens) == []


def test_the_cursor_stays_in_sight_and_on_the_map(lens):
    lens.canvas("photo").focus()
    for _ in range(4):
        lens.page.keyboard.press("+")
    for _ in range(70):
        lens.page.keyboard.press("ArrowLeft")
    assert lens.pixel()[1] == 0
    seen = lens.canvas("photo").evaluate(
        """(canvas) => {
          const { e, a } = canvas.getContext("2d").getTransform();
          return [-e / a, (canvas.width - e) / a];
        }"""
    )
    assert seen[0] <= 0.5 <= seen[1]


def touches(lens, kind: str, *points) -> None:
    session = lens.touch_session
    session.send(
        "Input.dispatchTouchEvent",
        {"type": kind, "touchPoints": [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(points)]},
    )


def test_touch_taps_pin_drags_preview_and_two_fingers_zoom(lens_page, buffer):
    lens = lens_page(buffer, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    lens.canvas("photo").scroll_into_view_if_needed()
    lens.touch_session = lens.page.context.new_cdp_session(lens.page)
    lens.page.touchscreen.tap(*lens.point("photo", 250, 130, SIZE))
    assert pins(lens) == [pytest.approx([250, 130], abs=2)]

    touches(lens, "touchStart", lens.point("photo", 100, 100, SIZE))
    for x in range(120, 301, 20):
        touches(lens, "touchMove", lens.point("photo", 100, x, SIZE))
    assert lens.pixel() == pytest.approx([100, 300], abs=2)
    touches(lens, "touchEnd")
    assert lens.pixel() == pins(lens)[0] and len(pins(lens)) == 1

    left, right = lens.point("photo", 180, 200, SIZE), lens.point("photo", 180, 280, SIZE)
    touches(lens, "touchStart", left, right)
    for step in range(1, 6):
        touches(lens, "touchMove", (left[0] - 8 * step, left[1]), (right[0] + 8 * step, right[1]))
    touches(lens, "touchEnd")
    assert lens.page.get_by_role("button", name="Show the whole image").is_enabled()
    assert len(pins(lens)) == 1


# --- rows, columns, regions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [{}, {"gate": "binary", "kernel": 7}, {"retention": "box", "temperature": 2.0}])
def test_rows_show_python_s_figures(lens_page, buffer, street, changed):
    lens = lens_page(asking_for(buffer, {"id": str(changed), "pins": [[300, 100]], "choices": changed}))
    for stage in STAGES:
        assert lens.figures(stage) == expected_figures(
            street, stage, cell_of((300, 100)), **row_options(street, changed)
        )


@pytest.mark.parametrize("temperature", [None, 3.0])
def test_columns_show_who_attends_to_the_pixel(lens_page, tall, temperature):
    choices = {"temperature": temperature}
    lens = lens_page(asking_for(pack_capture(tall), {"id": 1, "pins": [[150, 30]], "choices": choices}))
    choose(lens, "direction", "column")
    lens.page.locator("[data-panel=retained] [data-figure=keptMass]:not([data-value=''])").wait_for()
    row, column = pixel_to_cell(150, 30, (200, 90), (25, 12))
    cell = row * 12 + column
    rows = attention_rows(tall, **row_options(tall, choices))
    labels = tall.cell_labels.ravel()
    others = np.arange(labels.size) != cell
    for stage in STAGES:
        column = getattr(rows, stage).reshape(labels.size, -1)[:, cell]
        found = lens.figures(stage)
        assert found["keptMass"] == pytest.approx(column[others & (labels < 11)].sum(), rel=1e-6)
        astray = column[(labels != labels[cell]) & (labels < 11)].sum()
        assert found["interclassNoise"] == pytest.approx(astray / found["keptMass"], rel=1e-6)
    panel = lens.page.locator("[data-panel=raw]")
    assert "from other classes" in panel.inner_text() and "hollow" not in panel.inner_text()
    assert "Noise is defined for rows" in lens.page.locator(".about").inner_text()


def test_the_page_answers_while_a_worker_computes(lens):
    open_options(lens)
    choose(lens, "direction", "column")
    slider = lens.page.locator("input[name=temperature]")
    slider.focus()
    lens.page.keyboard.press("ArrowRight")
    frames = lens.page.evaluate(
        """() => new Promise((done) => {
          let frames = 0;
          const begun = performance.now();
          const next = () => {
            frames++;
            if (performance.now() - begun < 300) requestAnimationFrame(next);
            else done(frames);
          };
          next();
        })"""
    )
    assert frames >= 3
    lens.page.locator("[data-panel=raw] [data-figure=keptMass]:not([data-value=''])").wait_for()
    assert lens.reported("choices")["temperature"] == 1.1


def test_a_class_shows_its_mean_attention(lens_page, tall):
    lens = lens_page(pack_capture(tall))
    label = int(np.unique(tall.cell_labels, return_counts=True)[0][-1])
    name = tall.label_set.class_names[label]
    button = lens.page.get_by_role("list", name="Classes").get_by_role("button", name=name, exact=True)
    button.click()
    cells = np.flatnonzero(tall.cell_labels.ravel() == label)
    lens.page.locator(".about").get_by_text(f"The mean over {len(cells)} cells of {name}").wait_for()
    assert button.get_attribute("aria-pressed") == "true"
    rows = attention_rows(tall, cells)
    for stage in STAGES:
        metrics = query_metrics(getattr(rows, stage), tall.cell_labels, cells, ignore_index=tall.ignore_index)
        found = lens.figures(stage)
        for shown, field in METRICS.items():
            assert found[shown] == pytest.approx(np.nanmean(getattr(metrics, field)), abs=1e-6)
    # A pixel under the pointer comes first, and the region comes back.
    lens.page.mouse.move(*lens.point("raw", 100, 40, (200, 90)))
    assert lens.page.locator(".state").inner_text() == "Preview"
    lens.page.mouse.move(2, 2)
    lens.settle()
    assert lens.page.locator(".state").inner_text() == "Region"
    button.click()
    lens.settle()
    assert lens.page.locator(".state").inner_text() == "Start"


def test_the_brush_averages_what_it_painted(lens):
    lens.page.get_by_role("button", name="Brush").click()
    lens.page.mouse.move(*lens.point("photo", 300, 100, SIZE))
    lens.page.mouse.down()
    lens.page.mouse.move(*lens.point("photo", 300, 260, SIZE), steps=20)
    lens.page.mouse.up()
    lens.page.mouse.move(2, 2)
    lens.page.locator(".about").get_by_text("The mean over").wait_for()
    count = int(lens.page.locator(".readout .place").inner_text().split()[0])
    assert 40 <= count <= 90  # 20 cells long, about 3 high
    assert pins(lens) == [] and lens.page.get_by_role("button", name="Brush").get_attribute("aria-pressed") == "false"
    lens.canvas("photo").focus()
    lens.page.keyboard.press("Escape")
    lens.settle()
    assert lens.page.locator(".state").inner_text() == "Start"


def test_the_noisiest_pixels_are_found_and_pinned(lens_page, tall):
    lens = lens_page(pack_capture(tall))
    lens.page.get_by_role("button", name="Noisiest pixels").click()
    group = lens.page.get_by_role("group", name="Noisiest pixels")
    group.get_by_role("button").nth(7).wait_for()
    every = np.arange(300)
    noise = query_metrics(
        attention_rows(tall).raw, tall.cell_labels, every, ignore_index=tall.ignore_index
    ).interclass_noise
    group.get_by_role("button").first.click()
    assert lens.figures("raw")["interclassNoise"] == pytest.approx(np.nanmax(noise), abs=1e-9)
    row, column = pixel_to_cell(*pins(lens)[0], (200, 90), (25, 12))
    assert noise[row * 12 + column] == pytest.approx(np.nanmax(noise))


# --- what is drawn ---------------------------------------------------------------------------------------------------


def numbers(lens, place: str) -> list[float]:
    lens.settle()
    texts = lens.page.locator(f"{place} .ticks span:not(.beyond)").all_inner_texts()
    return [float(text.replace("−", "-")) for text in texts]


def test_the_colour_bar_has_numbers_on_every_scale(lens, street):
    open_options(lens)
    row = attention_rows(street, [cell_of(lens.pixel())])
    for scale in ("share", "weight", "log"):
        lens.page.locator("select[name=scale]").select_option(scale)
        found = numbers(lens, ".bars")
        assert len(found) >= 3 and found == sorted(found)
        shown = [getattr(row, stage).ravel() for stage in STAGES]
        if scale != "weight":
            shown = [values * values.size / values.sum() for values in shown]
        highest = max(values.max() for values in shown)
        assert 0 < found[-1] <= highest * 1.0001
    lens.page.locator("select[name=range]").select_option("each")
    assert lens.page.locator(".bars .colourbar:visible").count() == 0
    assert all(len(numbers(lens, f"[data-panel={stage}]")) >= 3 for stage in STAGES)
    assert lens.reported("look")["scale"] == "log" and lens.reported("look")["range"] == "each"
    assert known_look(lens.reported("look")) == lens.reported("look")


def test_the_colours_end_at_the_chosen_percentile(lens):
    open_options(lens)
    lens.page.locator("select[name=scale]").select_option("weight")
    last = lens.page.locator(".bars .colourbar").first.locator(".ticks span:not(.beyond)").last
    before = last.inner_text(), last.get_attribute("style")
    lens.page.locator("input[name=clip]").fill("95")
    lens.settle()
    assert (last.inner_text(), last.get_attribute("style")) != before  # the range ends lower
    assert lens.page.locator(".bars .beyond").first.is_visible()
    assert lens.reported("look")["clip"] == 95


def test_differences_are_shown_on_a_scale_around_nothing(lens):
    open_options(lens)
    lens.page.get_by_label("show what GR and LR change").check()
    found = numbers(lens, ".bars .colourbar:nth-child(2)")
    assert found[0] == -found[-1] and 0 in found
    captions = lens.page.locator("figcaption strong").all_inner_texts()
    assert captions == ["Photo", "Raw", "Rectified − raw", "Retained − rectified"]


def colours_at(lens, panel: str, points: list[tuple[int, int]], size=SIZE) -> list[list[int]]:
    """RGB of a panel's canvas at image pixels, in a lens that shows the whole image."""
    lens.settle()
    return lens.canvas(panel).evaluate(
        """(canvas, [points, [height, width]]) => points.map(([y, x]) => Array.from(
          canvas.getContext("2d").getImageData(
            Math.floor(((x + 0.5) / width) * canvas.width), Math.floor(((y + 0.5) / height) * canvas.height), 1, 1,
          ).data.slice(0, 3)))""",
        [points, size],
    )


def test_a_map_has_the_colours_of_its_values_where_they_are(lens, street):
    """Painted without the photo: every cell's middle has the colour of its value, in each of the colormaps."""
    open_options(lens)
    lens.page.locator("input[name=photoOpacity]").fill("0")
    lens.page.get_by_label("outline the true class").uncheck()
    start = lens.pixel()
    for colormap, name in (("viridis", "viridis"), ("greys", "gray")):
        lens.page.locator("select[name=colormap]").select_option(colormap)
        lens.page.locator("select[name=scale]").select_option("log")
        row = attention_rows(street, [cell_of(start)]).raw.ravel()
        shown = row * row.size / row.sum()
        rows = attention_rows(street, [cell_of(start)])
        highest = max((getattr(rows, stage) / getattr(rows, stage).sum()).max() * row.size for stage in STAGES)
        places = np.log(np.maximum(shown, 1e-300) / (highest / 1e4)) / np.log(1e4)
        expected = matplotlib.colormaps[name](np.floor(np.clip(places, 0, 1) * 255 + 0.5).astype(int), bytes=True)[
            :, :3
        ]
        cells = [(5, 7), (20, 3), (40, 55), (30, 30), (10, 50)]
        points = [cell_to_pixel(*cell, SIZE, CELLS) for cell in cells]
        wanted = [expected[cell[0] * CELLS[1] + cell[1]] for cell in cells]
        np.testing.assert_allclose(colours_at(lens, "raw", points), wanted, atol=3)


def test_zoom_is_linked_and_a_double_click_resets_it(lens):
    y, x = 90, 120
    lens.page.mouse.move(*lens.point("raw", y, x, SIZE))
    lens.page.keyboard.down("Control")
    lens.page.mouse.wheel(0, -400)
    lens.page.keyboard.up("Control")
    lens.settle()
    transforms = [
        lens.canvas(panel).evaluate("(c) => { const t = c.getContext('2d').getTransform(); return [t.a, t.e, t.f]; }")
        for panel in ("photo", *STAGES)
    ]
    assert all(transform == pytest.approx(transforms[0]) for transform in transforms)
    assert lens.pixel() == pytest.approx([y, x], abs=1)  # what lies under the pointer stays there
    # A drag moves the view, and pins nothing.
    before = lens.pixel()
    lens.page.mouse.down()
    here = lens.point("raw", y, x, SIZE)
    lens.page.mouse.move(here[0] - 40, here[1] - 30, steps=5)
    lens.page.mouse.up()
    assert pins(lens) == []
    lens.page.mouse.move(*here)
    assert lens.pixel()[0] > before[0] and lens.pixel()[1] > before[1]
    lens.page.mouse.dblclick(*here)
    assert lens.page.get_by_role("button", name="Show the whole image").is_disabled()
    assert pins(lens) == []
    # Not zoomed, a double click is one click.
    lens.page.mouse.dblclick(*lens.point("photo", 200, 200, SIZE))
    assert len(pins(lens)) == 1


def test_overlays_and_hollows_are_drawn(lens_page, tall):
    cells = np.arange(300)
    rows = attention_rows(tall).raw
    hollow = query_metrics(rows, tall.cell_labels, cells, ignore_index=tall.ignore_index).hollow_fraction
    size = (200, 90)
    pixel = cell_to_pixel(*divmod(int(np.nanargmax(hollow)), 12), size, (25, 12))
    lens = lens_page(asking_for(pack_capture(tall), {"id": 1, "pins": [pixel]}))
    open_options(lens)
    points = [cell_to_pixel(*divmod(cell, 12), size, (25, 12)) for cell in range(300)]
    plain = colours_at(lens, "photo", points, size)
    lens.page.locator("select[name=overlay]").select_option("labels")
    assert colours_at(lens, "photo", points, size) != plain
    before = np.array(colours_at(lens, "raw", points, size))
    lens.page.get_by_label("mark the hollows").check()
    marked = (np.array(colours_at(lens, "raw", points, size)) != before).any(axis=1)
    own = tall.cell_labels.ravel() == tall.cell_labels.flat[np.nanargmax(hollow)]
    assert marked.sum() == pytest.approx(np.nanmax(hollow) * (own.sum() - 1), abs=3)  # less those under the pin
    assert not marked[~own].any()
    assert lens.reported("look")["hollows"] is True and lens.reported("look")["overlay"] == "labels"


# --- other images and models -----------------------------------------------------------------------------------------


def test_a_tall_image_keeps_its_shape_and_its_cells(lens_page, tall):
    size, cells = (200, 90), (25, 12)
    tall = dataclasses.replace(tall, labels=None)
    lens = lens_page(pack_capture(tall))
    box = lens.canvas("raw").bounding_box()
    assert box["height"] / box["width"] == pytest.approx(200 / 90, rel=0.02)
    click(lens, "raw", 180, 22, size)
    assert lens.pixel() == pytest.approx([180, 22], abs=1)
    row, column = pixel_to_cell(*lens.pixel(), size, cells)
    cell = row * 12 + column
    row = attention_rows(tall, [cell]).retained
    metrics = query_metrics(row, tall.cell_prediction, [cell], ignore_index=tall.ignore_index)
    assert lens.figures("retained")["keptMass"] == pytest.approx(float(metrics.kept_mass[0]), rel=1e-6)
    assert lens.page.get_by_text("No labels: measured against the model's own prediction").is_visible()
    assert lens.page.locator("[data-choice=gate] input[value=oracle]").count() == 0


def test_two_models_show_one_pixel_on_one_scale(lens_page, street):
    other = dataclasses.replace(
        street,
        query=street.query[:8, ::2, ::2].copy(),
        key=street.key[:8, ::2, ::2].copy(),
        class_probs=street.class_probs[:, ::2, ::2].copy(),
        gate=None,
        lr_kernel=None,
    )
    health = {"state": "alive", "sentence": "Alive: it is used."}
    lens = lens_page(pack_capture(street, other, health, names=("with GR and LR", "plain")))
    assert lens.page.locator(".model strong").all_inner_texts() == ["with GR and LR", "plain"]
    assert "It is used" in lens.page.locator(".model").first.inner_text()
    click(lens, "photo", 300, 100)
    y, x = lens.pixel()
    assert [y, x] == pytest.approx([300, 100], abs=2)
    for index, capture in enumerate((street, other)):
        row, column = pixel_to_cell(y, x, SIZE, capture.cells)
        for stage in STAGES:
            expected = expected_figures(capture, stage, row * capture.width + column)
            assert lens.figures(stage, index) == expected
    assert lens.page.locator(".colourbar:visible").count() == 1
    assert lens.page.locator("[data-choice=gate] input[value=own]").is_checked()
    choose(lens, "gate", "binary")
    assert lens.reported("choices")["gate"] == "binary"
    choose(lens, "gate", "own")
    assert lens.reported("choices")["gate"] is None
    box = [lens.canvas("raw", index).bounding_box() for index in (0, 1)]
    assert box[0]["x"] == box[1]["x"] and box[0]["width"] == box[1]["width"]


# --- for everybody ---------------------------------------------------------------------------------------------------


def test_every_control_has_a_name_and_the_focus_follows_the_page(lens):
    open_options(lens)
    lens.page.evaluate("() => { document.body.tabIndex = -1; document.body.focus(); }")
    seen = []
    for _ in range(80):
        lens.page.keyboard.press("Tab")
        found = lens.page.evaluate(
            """() => {
              const node = document.activeElement;
              if (node === document.body) return null;
              const named = node.closest("label")?.textContent || node.getAttribute("aria-label") || node.textContent;
              const box = node.getBoundingClientRect();
              const style = getComputedStyle(node);
              const ring = node.matches(".segmented input") ? getComputedStyle(node.nextElementSibling) : style;
              return [node.tagName, named.trim(), box.top, ring.outlineStyle];
            }"""
        )
        if found is None:
            break
        seen.append(found)
    tags = [tag for tag, *_ in seen]
    assert all(name for _, name, *_ in seen)
    assert all(ring != "none" for *_, ring in seen)
    assert tags.count("CANVAS") == 1 and "SUMMARY" in tags and "SELECT" in tags
    tops = [top for _, _, top, _ in seen]
    assert all(later > earlier - 60 for earlier, later in itertools.pairwise(tops))


def test_pictures_have_words(lens):
    assert "Street 1" in lens.canvas("photo").get_attribute("aria-label")
    for stage in STAGES:
        label = lens.canvas(stage).get_attribute("aria-label")
        noise = lens.page.locator(f"[data-panel={stage}] [data-figure=interclassNoise]").inner_text()
        assert label.lower().startswith(f"{stage} attention") and label.endswith(noise)


CONTRAST_SCRIPT = """() => {
  const numbers = (colour) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((n) => top[n] * top[3] + below[n] * (1 - top[3]));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const backgroundOf = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.unshift(numbers(getComputedStyle(at).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const found = [];
  for (const node of document.querySelectorAll(".lens *")) {
    const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    const disabled = node.closest("button:disabled");
    if (!text || disabled || !node.checkVisibility({ visibilityProperty: true }) || node.closest(".unseen")) continue;
    const background = backgroundOf(node);
    const ink = over(numbers(getComputedStyle(node).color), background);
    const [light, dark] = [luminance(ink), luminance(background)].sort((a, b) => b - a);
    found.push([(light + 0.05) / (dark + 0.05), node.textContent.trim().slice(0, 30)]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(lens_page, buffer, scheme):
    wish = {"id": scheme, "pins": [[40 * n, 55 * n] for n in range(1, 9)]}
    lens = lens_page(asking_for(buffer, wish), color_scheme=scheme)
    open_options(lens)
    found = lens.page.evaluate(CONTRAST_SCRIPT)
    assert len(found) > 60
    assert found[0][0] >= 4.5, found[:3]
