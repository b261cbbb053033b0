"""A web server on the loopback that gives files as web servers and the Hugging Face Hub do, and fails when told to.

Plain files lie at any path. Files of a repository lie at /<owner>/<name>/resolve/<revision>/<file>, as on the Hub:
small ones are given there, large ones (LFS) by another host, to which no token may go. Ranges are served and, with
If-Range, only of the same file. What was asked for and sent stands in `log`.
"""

import hashlib
import re
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

TOKEN, REFUSED_TOKEN = "hf_accepted", "hf_not_accepted"


class Request(NamedTuple):
    """What was asked for, with its headers by their names in small letters, and how many bytes of a file were sent."""

    method: str
    path: str
    headers: dict
    status: int
    sent: int


@dataclass
class Repository:
    """Files by their path; the large ones are those whose names are listed. gated: given to TOKEN alone."""

    revision: str
    files: dict[str, bytes]
    large: tuple[str, ...] = ()
    gated: bool = False


@dataclass
class Hub:
    """The server. faults: what goes wrong with the next bodies, one each: (name, number) as in `Handler.body`."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    repositories: dict[str, Repository] = field(default_factory=dict)
    faults: deque = field(default_factory=deque)
    log: list[Request] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def __enter__(self):
        self.server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def other_host(self) -> str:
        """The same server by another name."""
        return f"http://localhost:{self.server.server_port}"

    def sent(self) -> int:
        """The bytes of files sent so far."""
        return sum(request.sent for request in self.log)


class Server(ThreadingHTTPServer):
    """It says nothing of clients that went away: some are killed on purpose."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        found = re.fullmatch(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if target := self.hub.redirects.get(path):
            self.answer(302, {"Location": target})
        elif found:
            self.of_repository(*found.groups())
        elif path in self.hub.files:
            self.body(self.hub.files[path])
        else:
            self.answer(404)

    do_HEAD = do_GET

    def of_repository(self, name: str, revision: str, place: str):
        repository, token = self.hub.repositories.get(name), self.headers.get("Authorization")
        if repository is None:
            return self.answer(401, {"X-Error-Code": "RepoNotFound"})
        if repository.gated and token != f"Bearer {TOKEN}":
            return self.answer(403 if token else 401, {"X-Error-Code": "GatedRepo"})
        if revision != repository.revision:
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        stated = {"X-Repo-Commit": revision}
        if place not in repository.files:
            return self.answer(404, {"X-Error-Code": "EntryNotFound", **stated})
        content = repository.files[place]
        if place not in repository.large:
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self.body(content, {"ETag": f'"{blob}"', **stated})
        sha256 = hashlib.sha256(content).hexdigest()
        self.hub.files[f"/cdn/{sha256}"] = content
        stated |= {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{sha256}"'}
        return self.answer(302, {"Location": f"{self.hub.other_host}/cdn/{sha256}", **stated})

    def body(self, content: bytes, headers: dict | None = None):
        """The file, or the part that is asked for, with the next fault.

        status n: no file but this answer. cut n: no more than n bytes although more are announced. short n: no more
        than n bytes, and no more announced. unsized n: no more than n bytes, none announced. whole: no ranges. slipped:
        another part than asked for. stall n: nothing after n bytes until the test releases it. packed n: no more than n
        bytes, as if they were packed. unknown: nothing of a part, and not how long the whole is.
        """
        asks = self.command == "GET" and self.hub.faults
        fault, number = self.hub.faults.popleft() if asks else ("none", len(content))
        if fault == "status":
            return self.answer(number)
        headers = {"ETag": f'"{hashlib.md5(content).hexdigest()}"', "Accept-Ranges": "bytes", **(headers or {})}
        start, status, total = 0, 200, len(content)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]
        if asked and same and fault != "whole":
            start, status = int(asked[1]) - (fault == "slipped"), 206
            if start >= total:
                return self.answer(416, {} if fault == "unknown" else {"Content-Range": f"bytes */{total}"})
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        part = content[start:]
        kept = part[:number] if fault in ("cut", "short", "unsized", "stall", "packed") else part
        headers |= {"Content-Encoding": "gzip"} if fault == "packed" else {}
        if fault != "unsized":
            headers["Content-Length"] = str(len(kept if fault == "short" else part))
        self.close_connection = fault in ("cut", "unsized", "stall", "packed")
        return self.answer(status, headers, kept, stalls=fault == "stall")

    def answer(self, status: int, headers: dict | None = None, content: bytes = b"", stalls: bool = False):
        sent = content if self.command == "GET" else b""
        self.hub.log.append(Request(self.command, self.path, headers_of(self), status, len(sent)))
        self.send_response(status)
        for name, value in {"Content-Length": "0", **(headers or {})}.items() if not sent else (headers or {}).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(sent)
        self.wfile.flush()
        if stalls:
            self.hub.released.wait(60)


def headers_of(handler: Handler) -> dict[str, str]:
    return {name.lower(): value for name, value in handler.headers.items()}
