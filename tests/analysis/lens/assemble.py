"""Compile the lens's WebAssembly: python -m tests.analysis.lens.assemble

Writes rows.wasm beside rows.wat, which is committed with it: whoever uses the lens needs no compiler.
"""

from pathlib import Path

import wasmtime

from analysis.lens import script

SOURCE = Path(script.__file__).parent / "browser" / "rows.wat"


def assembled() -> bytes:
    """What rows.wat is in WebAssembly's binary form."""
    return bytes(wasmtime.wat2wasm(SOURCE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    SOURCE.with_suffix(".wasm").write_bytes(assembled())
