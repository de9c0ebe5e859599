"""The app asks nothing of the network: python -m tests.soak.offline

Starts the app with every look-up of a name and every connection recorded that leaves this machine, lets one visitor
use it, and says how much memory it holds then. Exit code 0 if nothing left the machine and the memory is at most 1 GB.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.soak.answers import FILES, LENS_FILE
from tests.soak.guest import Guest, Record, street
from tests.soak.server import serve
from tests.soak.visitor import Visitor

MOST_BYTES = 10**9
WATCHING = "watching"
# Runs in the server before anything else does.
GUARD = f"""
WATCHING = {WATCHING!r}
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        target = arguments[1]
        outside = isinstance(target, tuple) and not str(target[0]).startswith(("127.", "::1"))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        target = arguments[0]
        outside = target not in (None, "", "localhost", "127.0.0.1", b"127.0.0.1", "0.0.0.0", "::1", "::")
    else:
        return
    if outside:
        with open(os.environ["DNL_WATCHED"], "a") as file:
            print(event, target, file=file)
sys.addaudithook(watch)
with open(os.environ["DNL_WATCHED"], "a") as file:
    print(WATCHING, file=file)
"""


async def visit(address: str) -> None:
    async with Visitor(address) as visitor:
        guest = Guest(1, visitor, Record())
        await guest.open()
        await guest.choose_street(2)
        await guest.pin()
        for what in (*FILES, LENS_FILE):
            await guest.export(what)
        await guest.upload()
        await guest.pin()


def main() -> int:
    street(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(GUARD)
        watched = folder / "watched"
        with serve(folder, PYTHONPATH=str(folder), DNL_WATCHED=str(watched)) as server:
            asyncio.run(visit(server.address))
            memory = server.resident_bytes()
        first, *outside = watched.read_text().splitlines()
        assert first == WATCHING
    print("\n".join(outside) or "no connection and no look-up left this machine")
    print(f"memory with one visitor: {memory / 1e6:.0f} MB")
    return 1 if outside or memory > MOST_BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
