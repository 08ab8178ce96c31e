"""A web server on this machine whose faults a test can choose; not a test itself."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FileServer:
    """Serves `files` until `close`; every fault is off at first.

    Attributes:
        files: path -> content.
        requests: the path of each request so far.
        cuts: how many bytes of the next answers are sent before the connection ends, one an answer.
        silent: nothing at all is answered; `waits`: the answer comes when `go_on` is set; `stalls_after`:
            bytes of a body after which nothing follows; `drips`: a piece of the body now and then.
        length: whether Content-Length is sent.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.length = True
        self.cuts: list[int] = []
        self.silent = self.waits = self.drips = False
        self.stalls_after: int | None = None
        self.go_on = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                owner.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: Any) -> None:
        self.requests.append(handler.path)
        if self.silent or self.waits:
            self.go_on.wait(30)
        if self.silent:
            return
        content = self.files.get(handler.path)
        if content is None:
            handler.send_error(404)
            return
        handler.send_response(200)
        if self.length:
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        with contextlib.suppress(OSError):  # whoever asked has gone
            self._send(handler.wfile, content)

    def _send(self, out: Any, body: bytes) -> None:
        if self.cuts:
            out.write(body[: self.cuts.pop(0)])
        elif self.drips:
            for start in range(0, len(body), 100_000):
                out.write(body[start : start + 100_000])
                self.go_on.wait(0.2)
        elif self.stalls_after is not None:
            out.write(body[: self.stalls_after])
            self.go_on.wait(30)
        else:
            out.write(body)
