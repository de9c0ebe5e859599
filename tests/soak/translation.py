"""Pages under a browser's translation, every control moved: python -m tests.soak.translation [PAGE …]

Each page is opened twice. One is left as it is; in the other every text is replaced before each move, as translators
do it. Then the same control is moved on both, and once both are at rest they must say the same. Charts, formulas and
menus that open on demand are left out. PAGE: an address such as "lesson?step=4"; the Explorer, all steps of the Lesson
and the Noise report unless given. Exit code 0 if nothing was stale and every page had a control that changed its words.
"""

import difflib
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.browser import launch_chromium
from tests.browser.widgets import TRANSLATE
from tests.soak.server import serve

PAGES = ("?image=street-5&pins=210.180", *(f"lesson?step={step}" for step in range(1, 9)), "noise_report")
WAIT_SECONDS = 60
LOOKS, BETWEEN_LOOKS = 40, 250  # how often both pages are compared before they are called different; milliseconds
MOST_CONTROLS = 100
MAIN = "[data-testid=stMain]"

SAID = """(main) => {
  const texts = document.createTreeWalker(document.querySelector(main), NodeFilter.SHOW_TEXT);
  let all = "";
  while (texts.nextNode()) {
    const { data, parentElement: around } = texts.currentNode;
    const aside = around.closest("script, style, svg, .katex, [data-testid=stIconMaterial]");
    if (!aside && around.checkVisibility()) all += data.replace(/[«»]/g, "");
  }
  return all.replace(/\\s+/g, " ").split(/(?<=[.:?]) /);
}"""
# Sliders, radio buttons, switches, steppers, lists and what unfolds; a switch is seen by its label.
FIND = """(main) => {
  const kinds = "input[type=range], button[role=radio], input[type=checkbox], [data-testid=stNumberInputStepUp], " +
    "input[role=combobox], summary";
  const seen = (control) => control.matches("[type=checkbox]") ? control.closest("label").checkVisibility()
    : control.matches("[type=range]") ? control.closest("[role=group]").checkVisibility() : control.checkVisibility();
  window.controls = [...document.querySelector(main).querySelectorAll(kinds)].filter(seen);
  return window.controls.map((c) => c.matches("input") && c.role !== "combobox" ? c.type : c.role || c.localName);
}"""


def settle(page: Page) -> None:
    """Until the app has done what was asked of it."""
    page.wait_for_timeout(BETWEEN_LOOKS)
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')", timeout=1000 * WAIT_SECONDS)
    page.wait_for_timeout(BETWEEN_LOOKS)


def move(page: Page, number: int, kind: str) -> None:
    """Move the control of that number, as `FIND` has counted them."""
    control = page.evaluate_handle("(number) => window.controls[number]", number).as_element()
    assert control is not None
    if kind == "range":
        value, most = control.evaluate("(slider) => [slider.value, slider.max]")
        control.focus()
        page.keyboard.press("ArrowLeft" if value == most else "ArrowRight")
    elif kind == "combobox":
        control.click()
        page.wait_for_timeout(BETWEEN_LOOKS)
        for key in ("ArrowDown", "ArrowDown", "Enter", "Escape"):
            page.keyboard.press(key)
        page.evaluate("document.activeElement.blur()")
    else:
        control.evaluate("(control) => (control.matches('input') ? control.closest('label') : control).click()")


def difference(pages: list[Page]) -> list[str]:
    """What the two pages say otherwise, once they have had time; a line each."""
    plain: list[str] = []
    translated: list[str] = []
    for _ in range(LOOKS):
        plain, translated = (page.evaluate(SAID, MAIN) for page in pages)
        if plain == translated:
            return []
        pages[0].wait_for_timeout(BETWEEN_LOOKS)
    return list(difflib.unified_diff(plain, translated, lineterm="", n=0))[2:]


def walk(browser: Browser, address: str) -> tuple[int, int, list[str]]:
    """How many controls of a page were moved, how many of them changed its words, and what was stale."""
    contexts = [browser.new_context(viewport={"width": 1300, "height": 1400}) for _ in range(2)]
    pages = [context.new_page() for context in contexts]
    for page in pages:
        page.goto(address)
        page.wait_for_selector("h1", timeout=1000 * WAIT_SECONDS)
        settle(page)
    moved = telling = 0
    stale: list[str] = []
    for tab in range(max(1, pages[0].locator(f"{MAIN} [role=tab]").count())):
        for page in pages:
            if (tabs := page.locator(f"{MAIN} [role=tab]")).count():
                tabs.nth(tab).click()
            settle(page)
        for number in range(MOST_CONTROLS):
            pages[1].evaluate(TRANSLATE, MAIN)
            kinds, others = (page.evaluate(FIND, MAIN) for page in pages)
            if kinds != others:
                stale.append(f"the controls differ: {kinds}, {others}")
                break
            if number >= len(kinds):
                break
            before = pages[0].evaluate(SAID, MAIN)
            for page in pages:
                move(page, number, kinds[number])
            for page in pages:
                settle(page)
            found = difference(pages)
            stale += [f"tab {tab + 1}, control {number + 1}, {kinds[number]}:", *found] if found else []
            moved, telling = moved + 1, telling + (pages[0].evaluate(SAID, MAIN) != before)
    for context in contexts:
        context.close()
    return moved, telling, stale


def main(paths: list[str]) -> int:
    right = True
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as server, sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        for path in paths or PAGES:
            moved, telling, stale = walk(browser, f"http://{server.address}/{path}")
            print(f"{path:20} {moved:3} controls moved, {telling:3} changed the words", flush=True)
            for line in stale:
                print(f"  {line[:200]}")
            right = right and not stale and bool(telling)
        browser.close()
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
