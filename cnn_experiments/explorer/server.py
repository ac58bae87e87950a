"""The server of the page. It listens on this machine alone, and answers this machine's browsers alone."""

import asyncio
import errno
import logging
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from aiohttp import WSCloseCode, WSMsgType, web

from cnn_experiments.errors import UserError
from cnn_experiments.explorer.messages import MOST_BYTES_OF_UPLOAD
from cnn_experiments.explorer.subject import Subject
from cnn_experiments.explorer.tab import Tab

HOST = "127.0.0.1"
PAGE = Path(__file__).parent / "page"
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
MOST_TABS = 16
MOST_BYTES_OF_MESSAGE = MOST_BYTES_OF_UPLOAD + 2**23  # so that a sentence can be said about a file that is too large
SECONDS_TO_CLOSE = 2.0
HEADERS = {
    # Notebooks on this machine may show the page in a frame; nobody else may.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "object-src 'none'; frame-ancestors 'self' http://127.0.0.1:* http://localhost:*",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Serves the page from a thread of its own, from the beginning until it is closed. A notebook shows the page.

    Args:
        subjects: the runs to show, one or two.
        port: where to listen; 0 for any that is free.

    Attributes:
        port: where it listens.

    Raises:
        UserError: the port is not free, or not allowed.
    """

    def __init__(self, subjects: Sequence[Subject], port: int = 0) -> None:
        self._socket = listening_socket(port)
        self.port = int(self._socket.getsockname()[1])
        self._subjects = subjects
        self._started, self._ended = threading.Event(), threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.tabs: set[Tab] = set()
        self._thread = threading.Thread(target=self._run, name="explorer", daemon=True)
        self._thread.start()
        self._started.wait()

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.port}/"

    def wait(self) -> None:
        """Wait until it is closed."""
        self._ended.wait()

    def close(self) -> None:
        """Disconnect all tabs, and free the port."""
        if self._loop is not None and self._stop is not None and not self._ended.is_set():
            with suppress(RuntimeError):  # it has just ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(2 * SECONDS_TO_CLOSE)

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"the page is at {self.address}"

    def _repr_html_(self) -> str:
        return f'<iframe src="{self.address}" width="100%" height="900" style="border: 0"></iframe>'

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._socket.close()
            self._ended.set()
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        worker = ThreadPoolExecutor(1, "explorer")
        for subject in self._subjects:
            worker.submit(subject.prepare)
        runner = web.AppRunner(
            self._application(worker), access_log=None, logger=_quiet(), shutdown_timeout=SECONDS_TO_CLOSE
        )
        await runner.setup()
        try:
            await web.SockSite(runner, self._socket).start()
            self._started.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()
            worker.shutdown(wait=False, cancel_futures=True)

    def _application(self, worker: ThreadPoolExecutor) -> web.Application:
        hosts = {f"{name}:{self.port}" for name in (HOST, "localhost")}
        connections: set[web.WebSocketResponse] = set()

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.headers.getall("Host", []) not in [[host] for host in hosts]:
                return web.Response(status=403, text=f"This page is at {self.address}")
            return await handler(request)

        async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
            response.headers.update(HEADERS)

        async def connect(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Origin") not in [f"http://{host}" for host in hosts]:
                return web.Response(status=403, text=f"Only the page at {self.address} may ask.")
            if len(connections) >= MOST_TABS:
                return web.Response(status=503, text=f"More than {MOST_TABS} tabs show this page. Close some.")
            return await self._connected(request, worker, connections)

        async def disconnect(application: web.Application) -> None:
            for connection in list(connections):
                with suppress(Exception):
                    await connection.close(code=WSCloseCode.GOING_AWAY)

        application = web.Application(middlewares=[guard])
        application.on_response_prepare.append(add_headers)
        application.on_shutdown.append(disconnect)
        application.router.add_get("/", page_file)
        application.router.add_get("/page/{name:.+}", page_file)
        application.router.add_get("/favicon.ico", no_icon)
        application.router.add_get("/socket", connect)
        return application

    async def _connected(
        self, request: web.Request, worker: ThreadPoolExecutor, connections: set[web.WebSocketResponse]
    ) -> web.WebSocketResponse:
        """Answer a tab for as long as it is there; then nothing of it is left."""
        connection = web.WebSocketResponse(max_msg_size=MOST_BYTES_OF_MESSAGE, compress=False, timeout=SECONDS_TO_CLOSE)
        connections.add(connection)  # before anything is awaited, so that they can be counted
        tab = Tab(self._subjects, worker, connection.send_bytes)
        work: asyncio.Task[None] | None = None
        try:
            await connection.prepare(request)
            self.tabs.add(tab)
            work = asyncio.create_task(tab.work())
            work.add_done_callback(_say_what_happened)
            async for message in connection:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await tab.receive(message.data)
        except ConnectionError:  # the tab was closed while something was sent
            pass
        finally:
            if work is not None:
                work.cancel()
            self.tabs.discard(tab)
            connections.discard(connection)
        return connection


def _say_what_happened(work: "asyncio.Task[None]") -> None:
    error = None if work.cancelled() else work.exception()
    if error is not None and not isinstance(error, ConnectionError):
        logging.getLogger(__name__).error("a tab is answered no more", exc_info=error)


def _quiet() -> logging.Logger:
    """A logger for the web framework: what strangers send is not worth a line on the terminal."""
    logger = logging.getLogger(f"{__name__}.http")
    logger.setLevel(logging.CRITICAL)
    return logger


async def page_file(request: web.Request) -> web.Response:
    """A file of the page; nothing that is not among these files is read."""
    name = request.match_info.get("name", "index.html")
    files = {file.relative_to(PAGE).as_posix(): file for file in PAGE.rglob("*") if file.suffix in TYPES}
    if name not in files:
        return web.Response(status=404, text="There is no such file.")
    kind = TYPES[files[name].suffix]
    charset = None if kind == "image/png" else "utf-8"
    return web.Response(body=files[name].read_bytes(), content_type=kind, charset=charset)


async def no_icon(request: web.Request) -> web.Response:
    """Browsers ask for an icon; the page has its own."""
    return web.Response(status=204)


def listening_socket(port: int) -> socket.socket:
    """A socket that listens on this machine alone.

    Raises:
        UserError: the port is not free, not allowed, or no port.
    """
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port < 2**16:
        raise UserError(f"port={port}: give a number from 1 to 65535, or 0 for any that is free")
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        reasons = {errno.EADDRINUSE: "another program listens there", errno.EACCES: "this is not allowed"}
        reason = reasons.get(error.errno or 0, error.strerror or str(error))
        raise UserError(f"port={port}: {reason}. Give another, or leave port out for any that is free") from error


def serve(subjects: Sequence[Subject], port: int = 0, open_browser: bool = True) -> None:
    """Serve the page until Ctrl-C.

    Args:
        subjects: the runs to show, one or two.
        port: where to listen; 0 for any that is free.
        open_browser: whether to show the page in the browser, if there is one with a window.

    Raises:
        UserError: the port is not free.
    """
    with suppress(KeyboardInterrupt), Server(subjects, port) as server:
        print(f"{server.address}  (Ctrl-C ends it)", flush=True)
        if open_browser:
            show(server.address)
        server.wait()


def show(address: str) -> None:
    """Open an address in the browser; on a machine without a screen, do nothing."""
    has_screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if has_screen:
        with suppress(webbrowser.Error, OSError):
            webbrowser.open(address)
