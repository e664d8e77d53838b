"""Where the project lies: relative paths in the configuration start here."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
