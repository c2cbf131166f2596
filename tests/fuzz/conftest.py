"""The package ``fuzzing`` beside these tests is theirs and that of scripts/fuzz_readers.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
