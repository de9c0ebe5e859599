"""The browser in which benchmarks, tests and the README's pictures use the app."""

import shutil

from playwright.sync_api import Browser, Playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def launch_chromium(playwright: Playwright) -> Browser:
    """A headless Chromium: the system's where there is one, else the one that Playwright installs."""
    installed = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    return playwright.chromium.launch(executable_path=next(installed, None), args=ARGUMENTS)
