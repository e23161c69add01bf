"""The main job on real footage: build it, serve it on loopback, curate it, inspect it. All files are in build/demo.

python -m demo
"""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

from demo.footage import build
from demo.serve import start

PORT = 8917  # the same each time if it is free, so that a second run requests the same URLs


def main() -> int:
    home = Path("build/demo")
    footage, dataset = home / "footage", home / "dataset"
    footage.mkdir(parents=True, exist_ok=True)
    if not list(footage.glob("*.mp4")):
        print(f"Building footage with a voice and subtitles in {footage} …", flush=True)  # noqa: T201
        build(footage)
    with _serve(footage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        listed = str(footage / "urls.txt")
        curated = _vidla("curate", listed, "--dataset", str(dataset), "--set", "download.allow_private=true")
        server.shutdown()
    status = curated or _vidla("inspect", str(dataset))
    if not status:
        command = Path(sys.executable).parent / "vidla"
        print(f"\nLook at it in a browser: {_shown(command)} view {dataset}")  # noqa: T201
        print(f'To have `vidla` as a command: export PATH="{command.parent}:$PATH"')  # noqa: T201
    return status


def _shown(path: Path) -> str:
    """A path as short as it works from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _serve(footage: Path) -> ThreadingHTTPServer:
    try:
        return start(footage, PORT)
    except OSError:
        return start(footage)


def _vidla(*arguments: str) -> int:
    print("$ vidla", *arguments, flush=True)  # noqa: T201
    return subprocess.run([Path(sys.executable).parent / "vidla", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
