"""A small web server on loopback with one page per video, so that a download is a real download.

    python -m demo.serve FOLDER [--port N]

writes the URLs of the pages to FOLDER/urls.txt, prints that file's path, and serves until interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import html
import signal
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".vtt": "text/vtt", ".mp4": "video/mp4"}

    def log_message(self, format: str, *args: Any) -> None:
        pass


def start(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """Write the pages and urls.txt; return a server of `folder` on 127.0.0.1, not yet serving (port 0: any)."""
    server = ThreadingHTTPServer(("127.0.0.1", port), functools.partial(_Handler, directory=str(folder)))
    address = f"http://127.0.0.1:{server.server_address[1]}"
    urls = []
    for video in sorted(folder.glob("*.mp4")):
        (folder / f"{video.stem}.html").write_text(_page(video), encoding="utf-8")
        urls.append(f"{address}/{quote(video.stem)}.html\n")
    (folder / "urls.txt").write_text("".join(urls))
    return server


def _page(video: Path) -> str:
    """An HTML page with the video and its subtitles (x.mp4, x.en.vtt)."""
    tracks = "".join(
        f'<track kind="subtitles" srclang="{html.escape(file.name.split(".")[-2])}" src="{quote(file.name)}">'
        for file in sorted(video.parent.glob(f"{video.stem}.*.vtt"))
    )
    title = html.escape(video.stem)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head><body>'
        f'<h1>{title}</h1><video controls src="{quote(video.name)}">{tracks}</video></body></html>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m demo.serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    with start(arguments.folder, arguments.port) as server:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        sys.stdout.write(f"{arguments.folder / 'urls.txt'}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
