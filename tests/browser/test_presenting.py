"""Two models on the whole screen: on a projector all is on the first screen, on a phone nothing sticks out."""

import dataclasses

import pytest

from analysis.lens import pack_capture

pytestmark = pytest.mark.browser

PANELS = """() => {
  const shown = [...document.querySelectorAll("[data-panel]")].filter((panel) => panel.checkVisibility());
  return shown.map((panel) => {
    const [canvas, whole] = [panel.querySelector("canvas"), panel].map((part) => part.getBoundingClientRect());
    return [canvas.top, canvas.width, whole.bottom, whole.right];
  });
}"""
# 1280×720 at 150 %, a large screen, a phone; how wide a picture is at least.
SCREENS = ((853, 480, 150), (1920, 1080, 400), (390, 844, 140))


@pytest.mark.parametrize("stages", [3, 1])
def test_two_presented_models_are_whole(lens_page, street, stages):
    plain = street if stages == 3 else dataclasses.replace(street, gate=None, lr_kernel=None)
    lens = lens_page(pack_capture(plain, plain, names=("one", "another")))
    lens.page.evaluate("document.body.style = 'margin: 0; padding: 5px 13px; max-width: none'")
    lens.page.evaluate("document.querySelector('.lens').classList.add('present')")
    for width, height, least in SCREENS:
        lens.page.set_viewport_size({"width": width, "height": height})
        lens.settle()
        panels = lens.page.evaluate(PANELS)
        assert len(panels) == 1 + 2 * stages  # the photo, and the maps that there are
        assert lens.page.evaluate("document.documentElement.scrollWidth") <= width
        assert min(canvas for _, canvas, *_ in panels) > least and max(right for *_, right in panels) <= width
        if width > 640:
            assert max(bottom for _, _, bottom, _ in panels) <= height
            names = [name.bounding_box() for name in lens.page.locator(".model").all()]
            assert all(name["y"] + name["height"] <= height for name in names)
            assert (panels[1][0] == panels[-1][0]) == (stages == 1)  # side by side, or in two rows
