"""How long a person waits for `embedstep check` and `embedstep plan`.

The other side is what the libraries offer today for finding out whether arguments are good: importing
sentence-transformers and constructing its arguments, which looks at no data and plans nothing.
"""

import sys
import tempfile
from pathlib import Path

import yaml

from tests.benchmarks.commands import environment, timed
from tests.benchmarks.harness import Record, measure, seconds_of
from tests.benchmarks.material import SamplerInputs, material

BOUND = 0.1
REPEATS = 7
_REQUEST = Path(__file__).parents[2] / "pipelines" / "requests" / "docstrings_minilm.yaml"
_CONSTRUCT = (
    "from sentence_transformers import SentenceTransformerTrainingArguments\n"
    "SentenceTransformerTrainingArguments(output_dir='trainer', use_cpu=True)"
)


def plan(quick: bool) -> Record:
    """Time `embedstep plan`."""
    return _compared_with_the_arguments("plan", quick)


def check(quick: bool) -> Record:
    """Time `embedstep check`."""
    return _compared_with_the_arguments("check", quick)


def _compared_with_the_arguments(command: str, quick: bool) -> Record:
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as name:
        folder = Path(name)
        request = write_request(folder / "request.yaml", material(quick))
        env = environment()

        def ours() -> float:
            return timed([console_script(), command, str(request)], env=env, folder=folder)

        def other() -> float:
            return timed([sys.executable, "-c", _CONSTRUCT], env=env, folder=folder)

        if not quick:
            # The first start after an installation reads cold files and writes byte code.
            seconds_of(ours), seconds_of(other)
        compares = f"embedstep {command} / import and construct the arguments"
        return measure(command, compares, ours, other, BOUND, 1 if quick else REPEATS)


def console_script() -> str:
    """Return the installed command."""
    return str(Path(sys.executable).with_name("embedstep"))


def write_request(file: Path, given: SamplerInputs) -> Path:
    """Write the shipped request for MiniLM with the paths of `given`, and return its file."""
    document = yaml.safe_load(_REQUEST.read_text())
    document["model"]["path"] = str(given.model)
    document["data"]["train"]["docs"]["path"] = str(given.train)
    document["data"]["eval"]["docs"]["path"] = str(given.evaluation)
    file.write_text(yaml.safe_dump(document))
    return file
