"""The Explorer with hostile files: it shows a sentence, never an exception."""

import pytest

from tests.fuzz import corpus
from tests.fuzz.counts import COUNTS
from tests.fuzz.guard import FACTOR
from tests.pages.small import app_on

FILES = {
    "photo": {**corpus.bombs(), **corpus.polyglots(), "whole": corpus.images()[4]},
    "attention file": {
        "whole": corpus.capture_npz(),
        "cut off": corpus.capture_npz()[:700],
        "markup": corpus.capture_npz(
            metadata=corpus.CAPTURE_METADATA | {"class_names": list(corpus.HOSTILE_NAMES[:3])}
        ),
        "half a surrogate": corpus.capture_npz(metadata=corpus.CAPTURE_METADATA | {"name": "\ud800"}),
        "nothing": b"",
    },
}
SOURCES = {"photo": "Your photo", "attention file": "Attention file"}
CASES = [(kind, name) for kind, files in FILES.items() for name in files]
# A run of the page takes a second: a few of them, and all of them where more is asked for.
QUICK = [("photo", "png of 60000×60000"), ("attention file", "markup"), ("attention file", "half a surrogate")]


@pytest.mark.parametrize(("kind", "name"), CASES if FACTOR > 1 else QUICK)
def test_a_hostile_file_in_the_explorer(kind, name, tmp_path, monkeypatch):
    corpus.checkpoint(tmp_path)
    app = app_on(tmp_path, monkeypatch, 120)
    app.session_state["source"] = SOURCES[kind]
    app.session_state[f"kept {kind}"] = (f"{corpus.HOSTILE_NAMES[0]}.png", FILES[kind][name])
    app.run()
    COUNTS["pages"] += 1
    COUNTS["pages refused"] += bool(app.error)
    assert not app.exception
    assert bool(app.error) == (name not in ("whole", "markup", "png and page", "png and archive"))
