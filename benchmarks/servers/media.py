"""Serves one folder over HTTP with ``sendfile``: ``python -m benchmarks.servers.media FOLDER``.

It serves plain GET with a length and an ETag, which is all that curl and ours need. ``?rate=125`` sends 125 megabytes
per second; without it, the server sends as fast as the machine can.
"""

from __future__ import annotations

import argparse
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

STEP_BYTES = 256 * 1024


class Handler(BaseHTTPRequestHandler):
    """Answers with a file of the folder."""

    protocol_version = "HTTP/1.1"
    folder = Path()

    def do_GET(self) -> None:
        """Send the file."""
        asked = urlsplit(self.path)
        path = self.folder / Path(asked.path).name
        rate = float(parse_qs(asked.query).get("rate", ["0"])[0]) * 1e6
        with path.open("rb") as file:
            size = path.stat().st_size
            self.send_response(200)
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Content-Length", str(size))
            self.send_header("ETag", f'"{size}"')
            self.end_headers()
            self.wfile.flush()
            if rate:
                self.send_slowly(file, size, rate)
            else:
                self.connection.sendfile(file)

    def send_slowly(self, file: Any, size: int, rate: float) -> None:
        """Send at a steady rate. A receiver that was slow for a moment may catch up, as with a network's buffers."""
        began, sent = time.monotonic(), 0
        while sent < size:
            if (ahead := sent / rate - (time.monotonic() - began)) > 0:
                time.sleep(ahead)
            sent += os.sendfile(self.connection.fileno(), file.fileno(), sent, min(STEP_BYTES, size - sent))

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def main() -> None:
    """Serve until killed."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("folder", type=Path)
    Handler.folder = parse.parse_args().folder
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
