"""The locations of the project's own files."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
FAKE_SITE = ROOT / "tests" / "support" / "fake_site"
