"""Where the tests find the repository, and what the class of sentence-transformers 3.0 really gave out."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SEED_ERA: dict[str, Any] = json.loads((ROOT / "tests" / "golden" / "seed_era.json").read_text())
