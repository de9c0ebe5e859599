import asyncio
import types
from concurrent.futures import ThreadPoolExecutor

from streamlit.web.server.app_discovery import discover_asgi_app

from pages.parts.app import warming
from tests.pages.small import APP


def test_the_server_serves_the_app_that_warms_up():
    assert discover_asgi_app(APP).import_string == "app:app"


def test_the_server_answers_while_the_first_run_goes_on_and_ends_it_when_it_ends(monkeypatch):
    said = []

    async def endless_run() -> None:
        said.append("begun")
        try:
            await asyncio.sleep(60)
        finally:
            said.append("ended")

    runtime = types.SimpleNamespace(does_script_run_without_error=endless_run)
    monkeypatch.setattr(warming, "get_instance", lambda: runtime)

    async def serve() -> None:
        async with warming.warm_up(None):
            await asyncio.sleep(0)
            said.append("answers")

    ThreadPoolExecutor(1).submit(asyncio.run, serve()).result()  # this thread may have a loop of its own
    assert said == ["begun", "answers", "ended"]
