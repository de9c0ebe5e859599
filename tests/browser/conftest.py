"""A headless Chromium, and the app as served by Streamlit."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from playwright.sync_api import sync_playwright

from analysis import capture_attention
from dnl import ModelConfig, build_model
from dnl.checkpoints import save_checkpoint
from dnl.classes import CAMVID
from dnl.datasets import Streets

ROOT = Path(__file__).parents[2]
START_SECONDS = 60
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium():
    """The system's Chromium where there is one, else the one that Playwright installs."""
    with sync_playwright() as playwright:
        installed = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
        browser = playwright.chromium.launch(executable_path=next(installed, None), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def street():
    """A capture of 45×60 cells: a built-in street, as a small untrained network sees it."""
    scene = Streets("gallery")[0]
    model = untrained_model().eval()
    return capture_attention(model, scene.image, labels=scene.labels, name="Street 1")


def untrained_model():
    torch.manual_seed(0)
    model = build_model(ModelConfig("resnet18", 16, 11, attention_stride=8, gamma_init=0.5))
    model.label_set = CAMVID
    # Untrained scores are huge and the softmax all but one-hot: smaller ones give maps with something to measure.
    with torch.no_grad():
        model.context.query.weight *= 0.05
    return model


@pytest.fixture(scope="session")
def app_url(tmp_path_factory):
    """The address of the running app, with one small untrained network beside the shipped ones."""
    zoo = tmp_path_factory.mktemp("zoo")
    save_checkpoint(zoo / "untrained.safetensors", untrained_model(), {"name": "untrained"})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = zoo / "streamlit.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}"],
            cwd=ROOT,
            env={**os.environ, "DNL_CHECKPOINTS": str(zoo), "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/_stcore/health", server, log)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=20)


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(START_SECONDS * 4):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            if server.poll() is not None:
                break
            time.sleep(0.25)
    raise RuntimeError(f"Streamlit did not start:\n{log.read_text(errors='replace')}")
