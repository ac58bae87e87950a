"""A web server on this machine, for tests of downloads."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class Web:
    """Serves `files` by path while the context lasts, and remembers what was asked for.

    Args:
        ranges: whether a client may ask for the rest of a file.
    """

    def __init__(self, ranges: bool = True) -> None:
        self.ranges = ranges
        self.files: dict[str, bytes] = {}
        self.breaks: dict[str, int] = {}  # after how many bytes of a file the connection breaks
        self.asked: list[tuple[str, str | None]] = []  # path and Range of each request
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append((self.path, self.headers.get("Range")))
                content = web.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "") if web.ranges else None
                begin = int(wanted[1]) if wanted else 0
                if wanted and begin >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206 if wanted else 200)
                self.send_header("Content-Length", str(len(content) - begin))
                self.end_headers()
                self.wfile.write(content[begin : web.breaks.get(self.path)])

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Web":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
