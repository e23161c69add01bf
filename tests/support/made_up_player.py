"""A made-up page player in the form that yt-dlp's challenge solver reads: /s/player/0123abcd/NAME.js.

It reverses `n`, and moves the first two characters of a signature to its end. Some of them misbehave meanwhile.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.web_server import _Handler, route

_PLAYER = """var _yt_player = {{}};
(function (g) {{
  'use strict';
  var Url = class {{
    constructor() {{ this.values = new Map(); }}
    set(name, value) {{ this.values.set(name, value); }}
    get(name) {{ return this.values.get(name); }}
    finish() {{
      {misbehave}
      this.values.set('n', Array.from(this.values.get('n') || '').reverse().join(''));
    }}
  }};
  var make = function (address, name, signature) {{
    var url = new Url(address);
    url.set("alr", "yes");
    if (signature) url.set(name, signature.slice(2) + signature.slice(0, 2));
    return url;
  }};
}})(_yt_player);
"""
_MISBEHAVE = {
    "good": "",
    "endless": "for (;;);",
    "hungry": "for (var held = []; ;) held.push(new Array(1e6).fill(held.length));",
    "hungry-outside-the-heap": "for (var held = []; ;) held.push(new Uint8Array(1e7).fill(1));",
    "calling": "fetch('{private}').catch(function () {{}});",
    "reading": "this.values.set('n', require('fs').readFileSync('/etc/hostname', 'utf8'));",
    "spawning": "require('child_process').execSync('touch {file}');",
}
LEFT_BEHIND = Path(tempfile.gettempdir(), "vidla-player-was-here")


@route("s")
def _(h: _Handler) -> None:
    name = h.path.rpartition("/")[2].partition(".")[0]
    misbehave = _MISBEHAVE[name].format(private=h.web.url("/private"), file=LEFT_BEHIND)
    h.answer(200, _PLAYER.format(misbehave=misbehave).encode(), "text/javascript")
