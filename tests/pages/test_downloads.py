import asyncio
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError

import pytest

from analysis.pins.files import HEADER
from tests.pages.small import save_network
from tests.soak.server import serve
from tests.soak.visitor import Visitor


async def fetch_late(address: str) -> bytes:
    """The content of a file that was made on demand, fetched after others have come and gone."""
    async with Visitor(address) as one, Visitor(address) as other:
        await one.rerun()
        url = await one.file_url("Figures (CSV)")
        for _ in range(3):
            await other.rerun()
        _, content = await one.fetch(url)
        # The next run of one's own lets go of it.
        for _ in range(3):
            await one.rerun()
        with pytest.raises(HTTPError, match="404"):
            await one.fetch(url)
    return content


def test_a_made_file_waits_for_its_visitor(tmp_path):
    save_network(tmp_path / "small.safetensors", calm=True)
    with serve(tmp_path, DNL_CHECKPOINTS=str(tmp_path)) as server:
        with ThreadPoolExecutor(1) as pool:  # Playwright's own loop runs in this thread, once it has been started
            content = pool.submit(asyncio.run, fetch_late(server.address)).result()
        assert "Traceback" not in server.log
    assert content.decode().splitlines()[0] == ",".join(HEADER)
