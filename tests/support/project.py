"""The locations of the project's own files."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAKE_SITE = ROOT / "tests" / "support" / "fake_site"
VIDLA = Path(sys.executable).parent / "vidla"
