"""What happens in an epoch of a run, and the one line that ends it."""

import pytest

from dnl.training import run as training
from dnl.training.engine import train_one_epoch


def interrupt():
    raise KeyboardInterrupt


@pytest.fixture
def in_epoch(monkeypatch):
    """in_epoch(number, act): `act` is called at the start of that epoch (from 1) of every run until it is undone.

    Without `act` it is an interrupt.
    """

    def arrange(number, act=interrupt):
        calls = []

        def observed(*args, **kwargs):
            calls.append(1)
            if len(calls) == number:
                act()
            return train_one_epoch(*args, **kwargs)

        monkeypatch.setattr(training, "train_one_epoch", observed)

    return arrange


@pytest.fixture
def only_error(capsys):
    """only_error() is what was printed as an error, of which there must be one line."""

    def read():
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error:", "interrupted"))]
        assert len(lines) == 1
        return lines[0]

    return read
