"""A visitor of the app without a browser: Streamlit's own WebSocket protocol, as its front end speaks it.

The front end's habits that load a server are kept: one rerun of the script for every change, the states of all widgets
on the page sent each time, large messages remembered by their hash and not sent again, uploads over HTTP with the XSRF
token.
"""

import asyncio
import json
import urllib.request
import uuid
from collections.abc import Iterator

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import connect

LARGEST_MESSAGE = 512 * 2**20
ANSWER_SECONDS = 120
LENS = "dnl_lens"


class PageError(AssertionError):
    """The app showed an exception, or what was looked for is not on the page."""


def _is_finished(message: ForwardMsg) -> bool:
    """Whether the run has ended, and not to begin again at once."""
    return message.WhichOneof("type") == "script_finished" and (
        message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN
    )


class Visitor:
    """One session. `elements` are those of the last finished run."""

    def __init__(self, address: str):
        self.address = address  # host:port
        self.elements: list[Element] = []
        self.session = ""
        self._states: dict[str, WidgetState] = {}
        self._remembered: dict[str, ForwardMsg] = {}
        self._page = ""
        self._found: list[Element] = []
        self._responses: dict[str, object] = {}

    async def __aenter__(self) -> "Visitor":
        self._token = await asyncio.to_thread(self._fetch_token)
        self._socket = await connect(
            f"ws://{self.address}/_stcore/stream",
            subprotocols=["streamlit", self._token] if self._token else ["streamlit"],
            additional_headers={"Cookie": f"_streamlit_xsrf={self._token}"},
            max_size=LARGEST_MESSAGE,
            ping_interval=None,
        )
        return self

    async def __aexit__(self, *_) -> None:
        await self._socket.close()

    # --- what a visitor does -----------------------------------------------------------------------------------------

    async def rerun(self, query: str = "") -> None:
        """Run the page with all widgets as they are, and wait until it has finished.

        A lens that has drawn for the first time says so, and what comes after it is waited for as well.
        """
        await self._run(query)
        for element in self.of_type("bidi_component"):
            if element.component_name == LENS and element.id not in self._states:
                self._state(element.id).json_value = json.dumps({"alive": True})
                await self._run()

    async def _run(self, query: str = "") -> None:
        message = BackMsg()
        message.rerun_script.query_string = query
        message.rerun_script.page_script_hash = self._page
        message.rerun_script.widget_states.widgets.extend(self._states.values())
        message.rerun_script.cached_message_hashes.extend(self._remembered)
        await self._socket.send(message.SerializeToString())
        await self._until(_is_finished)
        self.elements = self._found
        shown = {getattr(getattr(element, element.WhichOneof("type")), "id", "") for element in self.elements}
        self._states = {identity: state for identity, state in self._states.items() if identity in shown}
        for element in self.elements:
            if element.WhichOneof("type") == "exception":
                raise PageError(f"the page shows {element.exception.type}: {element.exception.message}")

    async def choose(self, label: str, option: str) -> None:
        """Choose in a selectbox."""
        self._state(self._labelled("selectbox", label).id).string_value = option
        await self.rerun()

    async def report(self, component: str, state: dict) -> None:
        """What the script of a component in the browser tells Python: its whole state."""
        self._state(self.component(component).id).json_value = json.dumps(state)
        await self.rerun()

    async def upload(self, label: str, name: str, content: bytes) -> None:
        widget = self._labelled("file_uploader", label)
        message, request = BackMsg(), uuid.uuid4().hex
        message.file_urls_request.request_id = request
        message.file_urls_request.file_names.append(name)
        message.file_urls_request.session_id = self.session
        await self._socket.send(message.SerializeToString())
        urls = (await self._response(request)).file_urls[0]
        await asyncio.to_thread(self._put, urls.upload_url, name, content)
        info = self._state(widget.id).file_uploader_state_value.uploaded_file_info
        del info[:]
        info.add(name=name, size=len(content), file_id=urls.file_id, file_urls=urls)
        await self.rerun()

    async def download(self, label: str) -> tuple[str, bytes]:
        """File name and content of a download button."""
        return await self.fetch(await self.file_url(label))

    async def file_url(self, label: str) -> str:
        """Where a download button's file lies, which is made when it is clicked."""
        button = self._labelled("download_button", label)
        if not button.deferred_file_id:
            return button.url
        message, request = BackMsg(), uuid.uuid4().hex
        message.backend_operation_request.request_id = request
        message.backend_operation_request.session_id = self.session
        message.backend_operation_request.deferred_file.file_id = button.deferred_file_id
        await self._socket.send(message.SerializeToString())
        answer = await self._response(request)
        if answer.error_msg:
            raise PageError(f"the download failed: {answer.error_msg}")
        return answer.deferred_file.url

    async def fetch(self, url: str) -> tuple[str, bytes]:
        """File name and content of what lies there. Raises HTTPError."""
        return await asyncio.to_thread(self._get, url)

    # --- what a visitor sees -----------------------------------------------------------------------------------------

    def of_type(self, kind: str) -> Iterator:
        return (getattr(element, kind) for element in self.elements if element.WhichOneof("type") == kind)

    def component(self, name: str):
        found = next((c for c in self.of_type("bidi_component") if c.component_name.endswith(name)), None)
        if found is None:
            raise PageError(f"there is no component {name!r} on the page")
        return found

    def labels(self, kind: str) -> list[str]:
        return [widget.label for widget in self.of_type(kind)]

    def _labelled(self, kind: str, label: str):
        found = next((widget for widget in self.of_type(kind) if widget.label == label), None)
        if found is None:
            raise PageError(f"there is no {kind} {label!r} on the page; there are {self.labels(kind)}")
        return found

    # --- the protocol ------------------------------------------------------------------------------------------------

    def _state(self, identity: str) -> WidgetState:
        return self._states.setdefault(identity, WidgetState(id=identity))

    async def _response(self, request: str):
        await self._until(lambda _: request in self._responses)
        return self._responses.pop(request)

    async def _until(self, done) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                message = ForwardMsg.FromString(await self._socket.recv())
                if message.WhichOneof("type") == "ref_hash":
                    whole = ForwardMsg()
                    whole.CopyFrom(self._remembered[message.ref_hash])
                    whole.metadata.CopyFrom(message.metadata)
                    message = whole
                elif message.metadata.cacheable:
                    self._remembered[message.hash] = message
                self._take(message)
                if done(message):
                    return

    def _take(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self._found = []
            self._page = message.new_session.page_script_hash
            self.session = message.new_session.initialize.session_id or self.session
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            self._found.append(message.delta.new_element)
        elif kind == "file_urls_response":
            self._responses[message.file_urls_response.response_id] = message.file_urls_response
        elif kind == "backend_operation_response":
            self._responses[message.backend_operation_response.request_id] = message.backend_operation_response

    def _fetch_token(self) -> str:
        with urllib.request.urlopen(f"http://{self.address}/_stcore/health", timeout=ANSWER_SECONDS) as answer:
            cookies = answer.headers.get_all("Set-Cookie") or []
        return next((c.split(";")[0].partition("=")[2] for c in cookies if c.startswith("_streamlit_xsrf=")), "")

    def _put(self, url: str, name: str, content: bytes) -> None:
        border = uuid.uuid4().hex
        head = f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        body = head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content
        request = urllib.request.Request(
            f"http://{self.address}{url}", body + f"\r\n--{border}--\r\n".encode(), method="PUT"
        )
        request.add_header("Content-Type", f"multipart/form-data; boundary={border}")
        request.add_header("X-Xsrftoken", self._token)
        request.add_header("Cookie", f"_streamlit_xsrf={self._token}")
        urllib.request.urlopen(request, timeout=ANSWER_SECONDS).close()

    def _get(self, url: str) -> tuple[str, bytes]:
        with urllib.request.urlopen(f"http://{self.address}{url}", timeout=ANSWER_SECONDS) as answer:
            return answer.headers.get_filename() or "", answer.read()
