"""The lens as one HTML file that opens from disk and never reaches for the network."""

import base64
import hashlib
import html
import zlib

from analysis.lens.script import CSS, HTML, SCRIPT, joined

_SCRIPT = f"{SCRIPT}\n{joined(('standalone.js',))}"
PAGE_STYLE = joined(("standalone.css",))
_STYLE = f"{PAGE_STYLE}\n{CSS}"
# Beyond, deflating further would keep a notebook waiting for little.
LARGE_BUFFER = 8 * 2**20

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<main>{lens}</main>
<noscript><p>The lens computes its maps in the browser, and needs JavaScript for that.</p></noscript>
{footer}<script type="application/octet-stream" id="buffer">{buffer}</script>
<script type="module">{script}</script>
</body>
</html>
"""


_FOOTER = """<footer><dl class="provenance" aria-label="Where this comes from">
{provenance}
</dl></footer>
"""


def standalone_html(payload: bytes, *, title: str, provenance: dict) -> bytes:
    """A page that shows the lens of `payload` (from `pack_capture`, `asking_for`): UTF-8 HTML in one file.

    provenance: what to say at the foot of where the maps come from, words by name (checkpoint, hash, image, options,
    version …), in this order. All arrays stay exact. The file runs its own script alone, loads nothing and sends
    nothing; texts are shown as they are, never run. About 2 MB for an image of 360×480 pixels with 45×60 cells.
    """
    # The script's own WebAssembly is no more than rows.wat; texts stay texts.
    policy = (
        f"default-src 'none'; script-src '{_hash(_SCRIPT)}' 'wasm-unsafe-eval'; style-src '{_hash(_STYLE)}'; "
        "worker-src blob:; base-uri 'none'; form-action 'none'"
    )
    rows = (
        f"<dt>{html.escape(str(name))}</dt><dd>{html.escape(str(words))}</dd>" for name, words in provenance.items()
    )
    page = _PAGE.format(
        policy=policy,
        title=html.escape(title),
        style=_STYLE,
        lens=HTML,
        footer=_FOOTER.format(provenance="\n".join(rows)) if provenance else "",
        buffer=base64.b64encode(zlib.compress(payload, 9 if len(payload) < LARGE_BUFFER else 1)).decode(),
        script=_SCRIPT,
    )
    return page.encode()


def _hash(text: str) -> str:
    """A Content-Security-Policy source that allows this very text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
