"""The server's start: it is its own first visitor, so that nobody else waits for imports, the model and a street."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import streamlit as st
from streamlit.runtime import get_instance


@contextlib.asynccontextmanager
async def warm_up(app: st.App) -> AsyncIterator[None]:
    """Run the first page once, in a thread of its own, while the server already answers.

    Whoever comes meanwhile waits for what is left of it: imports and caches have locks, and nothing is done twice.
    """
    run = asyncio.create_task(get_instance().does_script_run_without_error())
    try:
        yield
    finally:
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run
