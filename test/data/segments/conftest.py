"""Helpers of this folder can be imported by name."""

from pathlib import Path
import sys

sys.path.append(str(Path(__file__).parent))
