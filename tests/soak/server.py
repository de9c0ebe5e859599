"""The app as a process of its own, on a free port of the loopback interface."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_SECONDS = 120
STOP_SECONDS = 120


class Server:
    """`address` (host:port) and `pid` of a running app; `log` is its output so far."""

    def __init__(self, process: subprocess.Popen, address: str, log_file: Path):
        self.process, self.address, self.log_file = process, address, log_file

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def resident_bytes(self) -> int:
        """Memory that the process holds now (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serve(folder: Path, port: int | None = None, prefix=(), **environment: str) -> Iterator[Server]:
    """Start the app and stop it afterwards. folder: for its output. prefix: a command to run it under."""
    port = port or free_port()
    log = folder / f"streamlit-{port}.log"
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*prefix, *command, "--server.address=127.0.0.1", "--server.fileWatcherType=none"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_healthy(f"127.0.0.1:{port}", process, log)
        yield Server(process, f"127.0.0.1:{port}", log)
    finally:
        process.terminate()
        process.wait(timeout=STOP_SECONDS)


def wait_until_healthy(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(START_SECONDS * 4):
        try:
            urllib.request.urlopen(f"http://{address}/_stcore/health", timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if process.poll() is not None:
                break
            time.sleep(0.25)
    raise RuntimeError(f"the app did not start:\n{log.read_text(errors='replace')}")
