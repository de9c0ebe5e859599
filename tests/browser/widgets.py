"""Streamlit's own widgets, as a user's hand works them, and a browser's translation of a page."""

import contextlib
import io

import numpy as np
from PIL import Image
from playwright.sync_api import TimeoutError as PlaywrightTimeout

# How long a test waits for what will come: far longer than it takes, for slow machines.
PATIENCE_SECONDS = 120
LIST_SECONDS = 5
# As translators do it: two elements in place of each text within an element, given by a selector, that has none yet.
TRANSLATE = """(selector) => {
  const texts = document.createTreeWalker(document.querySelector(selector), NodeFilter.SHOW_TEXT);
  const all = [];
  while (texts.nextNode()) all.push(texts.currentNode);
  for (const text of all) {
    if (!text.data.trim() || text.parentElement.closest("[translate=no], script, style, svg, .katex, font")) continue;
    const [outer, inner] = [document.createElement("font"), document.createElement("font")];
    inner.textContent = `«${text.data}»`;
    outer.append(inner);
    text.replaceWith(outer);
  }
}"""


def choose_option(box, name: str) -> None:
    """Choose from the list of a select box or multiselect; a rerun of the page may close it: it is opened again."""
    option = box.page.get_by_role("option", name=name, exact=True)
    for _ in range(6):
        box.locator("input").click()
        with contextlib.suppress(PlaywrightTimeout):  # it may have been chosen all the same
            option.click(timeout=1000 * LIST_SECONDS)
        if _is_chosen(box, name):
            return
    raise AssertionError(f"the list never let {name!r} be chosen")


def _is_chosen(box, name: str) -> bool:
    for _ in range(20):
        if box.get_by_text(name, exact=True).count() or box.locator("input").input_value() == name:
            return True
        box.page.wait_for_timeout(100)
    return False


def choose(page, label: str, name: str) -> None:
    """`choose_option` in the select box of that label."""
    choose_option(page.get_by_test_id("stSelectbox").filter(has_text=label), name)


def wait_until_settled(page) -> None:
    """Until the server has answered the last change of state."""
    page.wait_for_timeout(200)
    page.wait_for_function("document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'")


def downloaded(page, label: str) -> tuple[str, bytes]:
    """Name and content of a button's file, pressed when no run is on: each run gives the button another file."""
    wait_until_settled(page)
    with page.expect_download() as download:
        page.get_by_role("button", name=label, exact=True).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def upload(page, place: int, name: str, content: bytes) -> None:
    """Give a file to the page's uploader at that place, counted from 0."""
    uploader = page.get_by_test_id("stFileUploaderDropzoneInput").nth(place)
    uploader.set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
