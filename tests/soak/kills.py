"""A command that is killed again and again until it has ended by itself."""

import subprocess
import time
from collections.abc import Callable

import numpy as np


def run_with_kills(
    start: Callable[[], subprocess.Popen],
    wait: Callable[[subprocess.Popen, int], None],
    look: Callable[[int], None],
    *,
    kills: int,
    window: float,
    seed: int,
) -> int:
    """Start a process to the end, killed (SIGKILL) up to `kills` times; how many kills hit it while it ran.

    start: begins it, with its standard error in a pipe. wait(process, hits): until it has got somewhere; the kill
    follows up to `window` seconds later. look(hits): at what a kill has left. Raises SystemExit, with what the process
    said, where it ends on its own by an error.
    """
    rng, hits = np.random.default_rng(seed), 0
    while True:
        process = start()
        if hits < kills:
            wait(process, hits)
            time.sleep(rng.uniform(0, window))
            if process.poll() is None:
                process.kill()
                hits += 1
        _, errors = process.communicate()
        if process.returncode == 0:
            return hits
        if process.returncode != -9:
            raise SystemExit(errors.decode())
        look(hits)
