"""A local HTTP server that speaks as much of S3 as is needed, and can be made to fail."""

from __future__ import annotations

import hashlib
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

PAGE = 3  # keys of a page of the listing


class Fake(ThreadingHTTPServer):
    """`files`: key -> content. `etags`: other ETags than the MD5. `cut`: key -> length of the next answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.cut: dict[str, int] = {}
        self.busy: dict[str, int] = {}  # key -> how many answers are 503
        self.damaged: dict[str, int] = {}  # key -> how many answers have a wrong byte
        self.sizes: dict[str, str] = {}  # other sizes than the true ones, in the listing
        self.is_endless = False  # every page of a listing names the first one as its next
        self.names_next = True
        self.log: list[tuple[str, str]] = []  # key, Range

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/bucket"

    def etag(self, key: str) -> str:
        return self.etags.get(key, hashlib.md5(self.files[key]).hexdigest())


class Handler(BaseHTTPRequestHandler):
    server: Fake
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        place = urllib.parse.urlsplit(self.path)
        key = urllib.parse.unquote(place.path.removeprefix("/bucket/"))
        if place.query:
            self._answer(200, self._listing(dict(urllib.parse.parse_qsl(place.query))))
            return
        fake = self.server
        wanted = self.headers.get("Range", "")
        fake.log.append((key, wanted))
        if key not in fake.files:
            self._answer(404, b"NoSuchKey")
            return
        if fake.busy.get(key, 0) > 0:
            fake.busy[key] -= 1
            self._answer(503, b"SlowDown")
            return
        if self.headers.get("If-Match", f'"{fake.etag(key)}"') != f'"{fake.etag(key)}"':
            self._answer(412, b"PreconditionFailed")
            return
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        content = fake.files[key][first:]
        if fake.damaged.get(key, 0) > 0:
            fake.damaged[key] -= 1
            content = bytes([content[0] ^ 255]) + content[1:]
        if key in fake.cut:
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: fake.cut.pop(key)])
            self.wfile.flush()
            self.close_connection = True
            return
        self._answer(206 if wanted else 200, content)

    def _listing(self, query: dict[str, str]) -> bytes:
        fake, prefix = self.server, query.get("prefix", "")
        keys = sorted(key for key in fake.files if key.startswith(prefix))
        folders: list[str] = []
        if query.get("delimiter"):
            rest = [key.removeprefix(prefix) for key in keys]
            folders = sorted({prefix + r.split("/")[0] + "/" for r in rest if "/" in r})
            keys = [prefix + r for r in rest if "/" not in r]
        entries = [("f", f) for f in folders] + [("k", k) for k in keys]
        begin = int(query.get("continuation-token", "0"))
        more = begin + PAGE < len(entries) or fake.is_endless
        body = ['<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">']
        body.append(f"<IsTruncated>{str(more).lower()}</IsTruncated>")
        if more and fake.names_next:
            token = 0 if fake.is_endless else begin + PAGE
            body.append(f"<NextContinuationToken>{token}</NextContinuationToken>")
        for kind, name in entries[begin : begin + PAGE]:
            shown = escape(urllib.parse.quote_plus(name))
            if kind == "f":
                body.append(f"<CommonPrefixes><Prefix>{shown}</Prefix></CommonPrefixes>")
            else:
                size, etag = fake.sizes.get(name, len(fake.files[name])), fake.etag(name)
                body.append(
                    f"<Contents><Key>{shown}</Key><Size>{size}</Size><ETag>&quot;{etag}&quot;</ETag></Contents>"
                )
        return "".join([*body, "</ListBucketResult>"]).encode()


@contextmanager
def served() -> Iterator[Fake]:
    """A running server."""
    fake = Fake()
    thread = threading.Thread(target=fake.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.shutdown()
        fake.server_close()
        thread.join()
