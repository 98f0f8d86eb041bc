"""A server of files on this machine that can fail in the ways servers and networks do."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Mirror(ThreadingHTTPServer):
    """Serves `content` at every path; `asked` keeps the headers of each request, in order."""

    daemon_threads = True

    def __init__(self, content: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content = content
        self.tag: str | None = '"first"'
        self.asked: list[dict[str, str]] = []
        self.ranges = True
        self.careless = False
        """Sends parts without heeding If-Range."""
        self.chunked = False
        self.cuts: list[int] = []
        """Bytes after which the next answers break off, one after the other."""
        self.statuses: list[int] = []
        """What the next requests are answered with, one after the other."""
        self.location: str | None = None
        """Where every request is led on to."""
        self.kind = "application/octet-stream"
        self.length: int | None = None
        """Told instead of the length there is."""
        self.seconds_per_kib = 0.0
        self.shift = 0
        """Added to the start of every part that is sent."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, *_: object) -> None:
        """Says nothing where whoever asked is gone."""

    def starts(self) -> list[int]:
        """Where each request began."""
        return [int(re.findall(r"\d+", headers.get("Range", "0"))[0]) for headers in self.asked]


class Answer(BaseHTTPRequestHandler):
    server: Mirror
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        mirror = self.server
        mirror.asked.append(dict(self.headers))
        if mirror.location is not None:
            self._head(302, 0, {"Location": mirror.location})
            return
        if mirror.statuses:
            self._head(mirror.statuses.pop(0), 0, {})
            return
        first, status, more = 0, 200, {}
        total = len(mirror.content)
        asked = self.headers.get("Range")
        heeded = mirror.careless or self.headers.get("If-Range") in (None, mirror.tag)
        if asked and mirror.ranges and heeded:
            first = int(asked.removeprefix("bytes=").removesuffix("-")) + mirror.shift
            if first >= total:
                self._head(416, 0, {"Content-Range": f"bytes */{total}"})
                return
            status, more = 206, {"Content-Range": f"bytes {first}-{total - 1}/{total}"}
        body = mirror.content[first:]
        if mirror.chunked:
            self._head(status, None, more)
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            return
        self._head(status, mirror.length or len(body), more)
        if mirror.cuts:
            body = body[: mirror.cuts.pop(0)]
            self.close_connection = True
        for start in range(0, len(body), 1024):
            self.wfile.write(body[start : start + 1024])
            if mirror.seconds_per_kib:
                time.sleep(mirror.seconds_per_kib)

    def _head(self, status: int, length: int | None, more: dict[str, str]) -> None:
        self.send_response(status)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.send_header("Content-Type", self.server.kind)
        if self.server.tag is not None:
            self.send_header("ETag", self.server.tag)
        for name, value in more.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def serving(mirror: Mirror) -> Iterator[Mirror]:
    thread = threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield mirror
    finally:
        mirror.shutdown()
        thread.join()
        mirror.server_close()
