"""What the lens shows, on a page of its own, against Python's figures."""

import dataclasses

import matplotlib
import numpy as np
import pytest

from analysis.geometry import cell_to_pixel, pixel_to_cell
from analysis.lens import PIN_COLOURS, asking_for, known_look, pack_capture, row_options
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


def cell_of(pixel) -> int:
    row, column = pixel_to_cell(*pixel, SIZE, CELLS)
    return row * CELLS[1] + column


def expected_figures(capture, stage: str, cell: int, **options) -> dict[str, float | None]:
    row = getattr(attention_rows(capture, [cell], **options), stage)
    metrics = query_metrics(row, capture.cell_labels, [cell], ignore_index=capture.ignore_index)
    values = {name: float(getattr(metrics, field)[0]) for name, field in METRICS.items()}
    return {name: None if np.isnan(value) else pytest.approx(value, abs=1e-6) for name, value in values.items()}


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
    lens.choose("direction", "column")
    lens.page.locator("[data-panel=retained]", has_text="from other classes").wait_for()  # no row's figures any more
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
    lens.open_options()
    lens.choose("direction", "column")
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
    assert lens.page.locator(".state").inner_text() == "Example"


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
    assert lens.pins() == [] and lens.page.get_by_role("button", name="Brush").get_attribute("aria-pressed") == "false"
    lens.canvas("photo").focus()
    lens.page.keyboard.press("Escape")
    lens.settle()
    assert lens.page.locator(".state").inner_text() == "Example"


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
    row, column = pixel_to_cell(*lens.pins()[0], (200, 90), (25, 12))
    assert noise[row * 12 + column] == pytest.approx(np.nanmax(noise))


# --- what is drawn ---------------------------------------------------------------------------------------------------


def numbers(lens, place: str) -> list[float]:
    lens.settle()
    texts = lens.page.locator(f"{place} .ticks span:not(.beyond)").all_inner_texts()
    return [float(text.replace("−", "-")) for text in texts]


def test_the_colour_bar_has_numbers_on_every_scale(lens, street):
    lens.open_options()
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
    lens.open_options()
    lens.page.locator("select[name=scale]").select_option("weight")
    last = lens.page.locator(".bars .colourbar").first.locator(".ticks span:not(.beyond)").last
    before = last.inner_text(), last.get_attribute("style")
    lens.page.locator("input[name=clip]").fill("95")
    lens.settle()
    assert (last.inner_text(), last.get_attribute("style")) != before  # the range ends lower
    assert lens.page.locator(".bars .beyond").first.is_visible()
    assert lens.reported("look")["clip"] == 95


def test_differences_are_shown_on_a_scale_around_nothing(lens):
    lens.open_options()
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
    lens.open_options()
    lens.page.locator("input[name=photoOpacity]").fill("0")
    lens.page.get_by_label("outline the true class").uncheck()
    start = lens.pixel()
    for colormap, name in (("viridis", "viridis"), ("greys", "gray")):
        lens.page.locator("select[name=colormap]").select_option(colormap)
        lens.page.locator("select[name=scale]").select_option("log")
        row = attention_rows(street, [cell_of(start)]).raw.ravel()
        shown = row * row.size / row.sum()
        rows = attention_rows(street, [cell_of(start)])
        values = np.sort(
            np.concatenate([getattr(rows, stage).ravel() / getattr(rows, stage).sum() for stage in STAGES])
        )
        high = values[int(np.ceil(0.995 * (values.size - 1)))] * row.size
        places = np.log(np.maximum(shown, 1e-300) / (high / 1e4)) / np.log(1e4)
        expected = matplotlib.colormaps[name](np.floor(np.clip(places, 0, 1) * 255 + 0.5).astype(int), bytes=True)[
            :, :3
        ]
        cells = [(5, 7), (20, 3), (40, 55), (30, 30), (10, 50)]
        points = [cell_to_pixel(*cell, SIZE, CELLS) for cell in cells]
        wanted = [expected[cell[0] * CELLS[1] + cell[1]] for cell in cells]
        np.testing.assert_allclose(colours_at(lens, "raw", points), wanted, atol=3)


def test_overlays_and_hollows_are_drawn(lens_page, tall):
    cells = np.arange(300)
    rows = attention_rows(tall).raw
    hollow = query_metrics(rows, tall.cell_labels, cells, ignore_index=tall.ignore_index).hollow_fraction
    size = (200, 90)
    pixel = cell_to_pixel(*divmod(int(np.nanargmax(hollow)), 12), size, (25, 12))
    lens = lens_page(asking_for(pack_capture(tall), {"id": 1, "pins": [pixel]}))
    lens.open_options()
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
    lens.click("raw", 180, 22, size)
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
    lens.click("photo", 300, 100)
    y, x = lens.pixel()
    assert [y, x] == pytest.approx([300, 100], abs=2)
    for index, capture in enumerate((street, other)):
        row, column = pixel_to_cell(y, x, SIZE, capture.cells)
        for stage in STAGES if index == 0 else STAGES[:1]:
            expected = expected_figures(capture, stage, row * capture.width + column)
            assert lens.figures(stage, index) == expected
    assert lens.page.locator(".colourbar:visible").count() == 1
    assert lens.page.locator("[data-choice=gate] input[value=own]").is_checked()
    lens.choose("gate", "binary")
    assert lens.reported("choices")["gate"] == "binary"
    lens.choose("gate", "own")
    assert lens.reported("choices")["gate"] is None
    box = [lens.canvas("raw", index).bounding_box() for index in (0, 1)]
    assert box[0]["x"] == box[1]["x"] and box[0]["width"] == box[1]["width"]


# --- what is said ----------------------------------------------------------------------------------------------------


def notes(lens) -> list[str]:
    lens.settle()
    return [lens.page.locator(f"[data-panel={stage}] figcaption span").inner_text() for stage in STAGES]


def shown(lens) -> list[str]:
    """The maps in sight, by their titles."""
    lens.settle()
    return lens.page.locator(".panel:not([data-panel=photo]) figcaption strong:visible").all_inner_texts()


def test_a_stage_that_there_is_not_has_no_map(lens, lens_page, street):
    assert notes(lens) == ["softmax of q·k", "raw × gate (GR)", "neighbours gathered (LR)"]
    lens.choose("gate", "off")
    assert shown(lens) == ["Raw", "Retained"]
    assert "After LR, " in lens.page.locator(".sentence").inner_text()
    lens.open_options()
    lens.page.get_by_label("show what GR and LR change").check()
    assert shown(lens) == ["Raw", "Retained − raw"]
    lens.choose("retention", "off")
    assert shown(lens) == ["Raw"]
    assert "After" not in lens.page.locator(".sentence").inner_text()
    plain = lens_page(pack_capture(dataclasses.replace(street, gate=None, lr_kernel=None)))
    assert shown(plain) == ["Raw"]
    plain.choose("gate", "binary")  # one that the network was not trained with
    assert shown(plain) == ["Raw", "Rectified"]


def test_of_two_models_the_place_of_what_one_lacks_stays_free_and_says_so(lens_page, street):
    pair = lens_page(pack_capture(street, dataclasses.replace(street, gate=None)))
    assert shown(pair) == ["Raw", "Rectified", "Retained"] * 2
    lacking = pair.page.locator("[data-model='1'][data-panel=rectified]")
    assert lacking.locator("figcaption span").inner_text() == "no GR"
    assert not lacking.locator("canvas").is_visible() and not lacking.locator("dl").is_visible()
    boxes = [pair.canvas("retained", index).bounding_box()["x"] for index in (0, 1)]
    assert boxes[0] == boxes[1]


def test_places_are_rows_and_columns(lens_page, buffer):
    lens = lens_page(asking_for(buffer, {"id": 1, "pins": [[300, 100]]}))
    row, column = pixel_to_cell(300, 100, SIZE, CELLS)
    words = lens.page.locator(".readout .place").inner_text().replace("\N{NO-BREAK SPACE}", " ")
    assert words == f"row 300, column 100 (cell in row {row}, column {column})"


def test_a_pin_leaves_its_cell_on_the_maps_in_sight(lens_page, buffer):
    lens = lens_page(asking_for(buffer, {"id": 1, "pins": [[4, 476], [300, 100]]}))
    middles = [[colour_at(lens, stage, *pixel) for stage in STAGES] for pixel in ((4, 476), (300, 100))]
    for colour, found in zip(PIN_COLOURS, middles, strict=False):
        pin = tuple(int(colour[place : place + 2], 16) for place in (1, 3, 5))
        assert not {pin, (0, 0, 0), (255, 255, 255)} & set(found)  # neither the disc nor its number


def colour_at(lens, panel: str, y: int, x: int) -> tuple[int, ...]:
    """The colour of a canvas in the middle of an image pixel."""
    script = """(canvas, [down, across]) =>
        [...canvas.getContext("2d").getImageData(across * canvas.width, down * canvas.height, 1, 1).data].slice(0, 3)"""
    return tuple(lens.canvas(panel).evaluate(script, [(y + 0.5) / SIZE[0], (x + 0.5) / SIZE[1]]))


def test_a_map_that_changes_is_on_the_screen_with_the_photo(lens_page, buffer):
    """At the widths that a browser of 1024×768 and a phone leave to the lens."""
    tablet = lens_page(buffer, viewport={"width": 600, "height": 540})
    photo, raw, rectified = (tablet.canvas(panel).bounding_box() for panel in ("photo", *STAGES[:2]))
    assert photo["y"] == raw["y"] and photo["x"] + photo["width"] < raw["x"]
    assert raw["y"] + raw["height"] < 540
    assert rectified["x"] == photo["x"]
    phone = lens_page(buffer, viewport={"width": 390, "height": 844})
    photo, raw = (phone.canvas(panel).bounding_box() for panel in ("photo", "raw"))
    assert raw["y"] + raw["height"] - photo["y"] < 600
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
