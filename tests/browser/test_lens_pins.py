"""The lens's pins, keys, fingers and zoom, and its use by everybody, on a page of its own."""

import itertools

import numpy as np
import pytest

from analysis.geometry import pixel_to_cell
from analysis.lens import asking_for, chosen_pixels, image_id
from tests.browser.widgets import TRANSLATE

pytestmark = pytest.mark.browser

STAGES = ("raw", "rectified", "retained")
SIZE, CELLS = (360, 480), (45, 60)


def cell_of(pixel) -> int:
    row, column = pixel_to_cell(*pixel, SIZE, CELLS)
    return row * CELLS[1] + column


# --- pins ------------------------------------------------------------------------------------------------------------


def test_pins_are_numbered_reported_removed_and_undone(lens, street):
    places = [(40, 60), (300, 240), (200, 400)]
    for panel, place in zip(("photo", "raw", "retained"), places, strict=True):
        lens.click(panel, *place)
    assert np.abs(np.array(lens.pins()) - places).max() <= 2
    assert list(lens.reported("pins")) == [image_id(street)]
    assert [chip.locator("b").inner_text() for chip in lens.chips().all()] == ["1", "2", "3"]
    assert lens.pixel() == lens.pins()[2]  # the one last touched

    lens.click("rectified", *places[1])
    assert lens.pixel() == lens.pins()[1] and lens.chips().count() == 2
    assert np.abs(np.array(lens.pins()) - [places[0], places[2]]).max() <= 2
    lens.page.get_by_role("button", name="Undo").click()
    assert lens.chips().count() == 3 and chosen_pixels(street, lens.reported("pins")) == [tuple(p) for p in lens.pins()]
    lens.page.keyboard.press("Control+z")
    lens.page.keyboard.press("Control+z")
    assert lens.chips().count() == 1
    lens.page.keyboard.press("Control+z")
    assert lens.pins() == [] and lens.page.get_by_role("button", name="Undo").is_disabled()
    assert lens.page.get_by_text("click to pin").is_visible()


def test_the_active_pin_is_shown_when_nothing_is_hovered(lens):
    for place in ((40, 60), (300, 240)):
        lens.click("photo", *place)
    first, second = lens.pins()
    lens.page.mouse.move(*lens.point("raw", 100, 100, SIZE))
    assert lens.pixel() == pytest.approx([100, 100], abs=1)
    lens.page.mouse.move(2, 2)
    assert lens.pixel() == second
    lens.chips().first.get_by_role("button").first.click()
    assert lens.pixel() == first
    lens.canvas("photo").focus()
    lens.page.keyboard.press("2")
    assert lens.pixel() == second
    lens.page.keyboard.press("Delete")
    assert lens.pins() == [first] and lens.pixel() == first
    lens.chips().first.get_by_role("button", name="Remove pin 1").click()
    assert lens.pins() == []


def test_a_ninth_pin_is_refused_in_words(lens):
    for x in range(9):
        lens.click("photo", 100, 30 + 50 * x)
    assert len(lens.pins()) == 8
    assert "8 pins are the most: remove one first with the ×" in lens.page.get_by_role("status").inner_text()


def test_a_request_sets_pins_choices_and_look_once(lens_page, buffer):
    wish = {
        "id": "a",
        "pins": [[10, 20], [350, 470]],
        "choices": {"gate": "binary", "kernel": 5, "temperature": 2.0},
        "look": {"direction": "column", "scale": "log", "colormap": "viridis"},
    }
    lens = lens_page(asking_for(buffer, wish))
    assert lens.pixel() == [10, 20] and lens.chips().count() == 2
    assert lens.page.locator("[data-choice=gate] input[value=binary]").is_checked()
    assert lens.page.locator("[data-choice=direction] input[value=column]").is_checked()
    assert lens.page.locator("select[name=scale]").input_value() == "log"
    assert lens.reported("pins") is None  # nothing is reported but what the user does
    lens.chips().first.get_by_role("button", name="Remove").click()
    lens.show(asking_for(buffer, wish))
    assert lens.chips().count() == 1


def test_a_link_s_pin_that_was_shown_is_shown_again(lens_page, buffer):
    lens = lens_page(asking_for(buffer, {"id": "a", "pins": [[10, 20], [350, 470], [100, 100]], "active": 1}))
    assert lens.pixel() == [350, 470]
    lens.page.keyboard.press("Tab")
    lens.chips().nth(2).get_by_role("button").first.click()
    assert lens.pixel() == [100, 100] and list(lens.reported("active").values()) == [2]


def test_words_that_a_browser_has_translated_are_replaced(lens):
    """A translation puts elements of its own in place of texts; figures and names of classes are left to the lens."""
    lens.page.evaluate(TRANSLATE, ".lens")
    lens.page.mouse.move(*lens.point("photo", 40, 60, (360, 480)))
    lens.settle()
    for part in (".sentence", ".readout .state", ".readout strong", ".readout .place"):
        words = lens.page.locator(part).inner_text()
        assert words and "«" not in words
    for stage in ("raw", "rectified", "retained"):
        noise = lens.page.locator(f"[data-panel={stage}] [data-figure=interclassNoise]")
        assert noise.inner_text() == f"{lens.figures(stage)['interclassNoise']:.3f}"
    assert "«" in lens.page.locator(".hint").inner_text()  # what stays as it is stays translated


def test_a_request_of_nonsense_changes_nothing(lens_page, buffer):
    wish = {
        "id": "a",
        "pins": [[-1, 5], [5, 480], ["1", 2], None, [1.5, 2], [7, 8], {"y": 1}],
        "choices": {"gate": "<b>", "kernel": 4, "temperature": 1e9, "retention": 3},
        "look": {"clip": 2, "scale": "no", "range": None, "colormap": "javascript:", "hollows": "yes", "direction": 1},
    }
    lens = lens_page(asking_for(buffer, wish))
    assert lens.pixel() == [7, 8] and lens.chips().count() == 1
    assert lens.page.locator("[data-choice=gate] input[value=sigmoid]").is_checked()
    lens.open_options()
    assert lens.page.locator("select[name=colormap]").input_value() == "magma"
    assert lens.page.locator("[data-choice=kernel] input[value='3']").is_checked()


def test_a_chosen_pin_comes_into_sight(lens):
    for place in ((40, 60), (300, 440)):
        lens.click("photo", *place)
    lens.canvas("photo").focus()
    for _ in range(4):
        lens.page.keyboard.press("+")
    for number in (0, 1):
        lens.page.keyboard.press(str(number + 1))
        lens.settle()
        seen = lens.canvas("raw").evaluate(
            """(canvas) => {
              const { a, d, e, f } = canvas.getContext("2d").getTransform();
              return [-f / d, (canvas.height - f) / d, -e / a, (canvas.width - e) / a];
            }"""
        )
        y, x = lens.pins()[number]
        assert seen[0] <= y + 0.5 <= seen[1] and seen[2] <= x + 0.5 <= seen[3]


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
    assert [cell_of(pin) for pin in lens.pins()] == [start - 1 - 2 * CELLS[1]]
    lens.page.keyboard.press("r")
    assert lens.reported("look")["direction"] == "column"
    assert lens.page.locator("[data-choice=direction] input[value=column]").is_checked()
    lens.page.keyboard.press("R")
    assert lens.reported("look")["direction"] == "row"
    lens.page.keyboard.press("ArrowRight")
    lens.page.keyboard.press("Escape")
    assert lens.pixel() == lens.pins()[0]
    lens.page.keyboard.press("+")
    assert lens.page.get_by_role("button", name="Show the whole image").is_enabled()
    lens.page.keyboard.press("0")
    assert lens.page.get_by_role("button", name="Show the whole image").is_disabled()
    lens.page.keyboard.press("Delete")
    assert lens.pins() == []


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
    assert lens.pins() == [pytest.approx([250, 130], abs=2)]

    touches(lens, "touchStart", lens.point("photo", 100, 100, SIZE))
    for x in range(120, 301, 20):
        touches(lens, "touchMove", lens.point("photo", 100, x, SIZE))
    assert lens.pixel() == pytest.approx([100, 300], abs=2)
    touches(lens, "touchEnd")
    assert lens.pixel() == lens.pins()[0] and len(lens.pins()) == 1

    left, right = lens.point("photo", 180, 200, SIZE), lens.point("photo", 180, 280, SIZE)
    touches(lens, "touchStart", left, right)
    for step in range(1, 6):
        touches(lens, "touchMove", (left[0] - 8 * step, left[1]), (right[0] + 8 * step, right[1]))
    touches(lens, "touchEnd")
    assert lens.page.get_by_role("button", name="Show the whole image").is_enabled()
    assert len(lens.pins()) == 1


# --- zoom and pan ---------------------------------------------------------------------------------------------------


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
    assert lens.pins() == []
    lens.page.mouse.move(*here)
    assert lens.pixel()[0] > before[0] and lens.pixel()[1] > before[1]
    lens.page.mouse.dblclick(*here)
    assert lens.page.get_by_role("button", name="Show the whole image").is_disabled()
    assert lens.pins() == []
    # Not zoomed, a double click is one click.
    lens.page.mouse.dblclick(*lens.point("photo", 200, 200, SIZE))
    assert len(lens.pins()) == 1


# --- for everybody ---------------------------------------------------------------------------------------------------


def test_every_control_has_a_name_and_the_focus_follows_the_page(lens):
    lens.open_options()
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
    lens.open_options()
    found = lens.page.evaluate(CONTRAST_SCRIPT)
    assert len(found) > 60
    assert found[0][0] >= 4.5, found[:3]
