"""Where the tests find the repository, and what the arguments class of sentence-transformers 3.0 really wrote."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECORDED_3_0: dict[str, Any] = json.loads((ROOT / "tests" / "golden" / "arguments_3_0.json").read_text())
