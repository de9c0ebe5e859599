"""Streamlit's own widgets, as a user's hand works them."""

import io

import numpy as np
from PIL import Image
from playwright.sync_api import TimeoutError as PlaywrightTimeout

LIST_SECONDS = 5


def choose_option(box, name: str) -> None:
    """Choose from the list of a select box or multiselect; a rerun of the page may close it: it is opened again."""
    option = box.page.get_by_role("option", name=name, exact=True)
    for _ in range(6):
        box.locator("input").click()
        try:
            option.click(timeout=1000 * LIST_SECONDS)
            return
        except PlaywrightTimeout:
            continue
    raise AssertionError(f"the list never let {name!r} be chosen")


def choose(page, label: str, name: str) -> None:
    """`choose_option` in the select box of that label."""
    choose_option(page.get_by_test_id("stSelectbox").filter(has_text=label), name)


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def upload(page, place: int, name: str, content: bytes) -> None:
    """Give a file to the page's uploader at that place, counted from 0."""
    uploader = page.get_by_test_id("stFileUploaderDropzoneInput").nth(place)
    uploader.set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
