"""Pages that a browser translates: whatever is moved, they say what the same page says that nobody has translated."""

import pytest

from tests.browser.widgets import TRANSLATE

pytestmark = pytest.mark.browser

# Every control of the lens, moved by its number; what it was, or null behind the last one.
MOVE = """(number) => {
  const all = document.querySelectorAll(".lens :is(input, select, button)");
  const control = all[number];
  if (!control) return null;
  if (control.disabled || !control.checkVisibility()) return "out of reach";
  const say = (...names) => names.forEach((name) => control.dispatchEvent(new Event(name, { bubbles: true })));
  if (control.matches("select")) {
    control.selectedIndex = (control.selectedIndex + 1) % control.options.length;
    say("input", "change");
  } else if (control.matches("[type=range], [type=number]")) {
    const before = control.value;
    control.stepUp();
    if (control.value === before) control.stepDown();
    say("input", "change");
  } else control.click();
  const { name, value, className } = control;
  return `${control.localName} ${name ?? ""} ${control.matches("input") ? value : className}`;
}"""
SAID = """() => {
  const words = document.querySelector(".lens").innerText.split("\\n").map((line) => line.replace(/[«»]/g, "").trim());
  return words.filter((line) => line);
}"""


def test_every_control_of_the_lens_is_moved_under_translation(lens_page, buffer):
    pages = [lens_page(buffer).page for _ in range(2)]
    plain, translated = pages
    for page in pages:
        page.locator("summary", has_text="More options").click()
    moved = []
    for number in range(200):
        translated.evaluate(TRANSLATE, ".lens")
        what, same = (page.evaluate(MOVE, number) for page in pages)
        assert what == same
        if what is None:
            break
        for _ in range(50):  # what takes longer comes from a worker
            said = [page.evaluate(SAID) for page in pages]
            if said[0] == said[1]:
                break
            plain.wait_for_timeout(100)
        assert said[0] == said[1], what
        moved.append(what)
    reached = [words for words in moved if words != "out of reach"]
    assert len(reached) > 50
    for control in ("input gate", "input direction", "select", "input temperature", "button"):
        assert any(words.startswith(control) for words in reached), control
