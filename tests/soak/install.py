"""Install the project in a clean environment and use it from elsewhere: python -m tests.soak.install [--python PATH …]

Makes a virtual environment in a temporary folder, runs `pip install` on a copy of the sources there, and from a folder
that does not hold them loads the shipped weights, packs a capture with the lens's files, asks every console command for
its help and serves the app. Exit code 0 if all of that works. Downloads what pyproject.toml names; the folder is
removed afterwards.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
ATTEMPTS = 120  # a second apart, for the app to start
USE = """
import sys, analysis, dnl
from analysis.lens import CSS, HTML, SCRIPT, pack_capture
from dnl.datasets import Streets
model, card = dnl.load_checkpoint("camvid-dnl")
scene = Streets("gallery")[0]
capture = analysis.capture_attention(model, scene.image, labels=scene.labels)
assert pack_capture(capture) and "export" in SCRIPT and CSS and HTML
assert "site-packages" in dnl.__file__ and "site-packages" in analysis.__file__, dnl.__file__
import torch
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, {card['name']} on {capture.cells} cells")
"""


def copy_sources(folder: Path) -> None:
    """What git knows, so that no build output of the checkout is installed by mistake."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def install_and_use(python: str) -> None:
    """Raises CalledProcessError where a step fails."""
    with tempfile.TemporaryDirectory() as folder:
        sources, environment, elsewhere = (Path(folder) / name for name in ("sources", "environment", "elsewhere"))
        elsewhere.mkdir()
        copy_sources(sources)
        subprocess.run([python, "-m", "venv", environment], check=True)
        binaries = environment / ("Scripts" if os.name == "nt" else "bin")
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}

        def run(*command, **options) -> None:
            subprocess.run(list(map(str, command)), cwd=elsewhere, env=clean, check=True, **options)

        run(binaries / "python", "-m", "pip", "install", "--quiet", sources)
        run(binaries / "python", "-m", "pip", "check")
        run(binaries / "python", "-c", USE)
        commands = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
        for name in commands:
            run(binaries / name, "--help", stdout=subprocess.DEVNULL)
        serve(binaries / "dnl", elsewhere, clean)
        print(f"installed; {len(commands)} commands answer: {', '.join(commands)}", flush=True)


def serve(command: Path, folder: Path, environment: dict[str, str]) -> None:
    """Start `dnl app` in a folder that holds nothing, and wait until it answers. Raises URLError where it does not."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([command, "app", "--port", str(port)], cwd=folder, env=environment)
    try:
        for attempt in range(ATTEMPTS):
            try:
                with urlopen(f"http://localhost:{port}/_stcore/health") as answer:
                    assert answer.read() == b"ok"
                return
            except URLError:
                if attempt == ATTEMPTS - 1:
                    raise
                time.sleep(1)
    finally:
        server.terminate()
        server.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description="Install the project in clean environments and use it.")
    parser.add_argument("--python", action="append", help="a Python to make an environment with; this one if not given")
    for python in parser.parse_args().python or [sys.executable]:
        install_and_use(python)
    return 0


if __name__ == "__main__":
    sys.exit(main())
