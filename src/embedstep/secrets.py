"""Keep secret values out of every text that is written down or shown."""

import re
from collections.abc import Mapping

_SECRET_VARIABLE = re.compile(r"token|password|passwd|secret|credential|api_?key|access_?key", re.IGNORECASE)
_SHORTEST = 8
_KNOWN_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|glpat-[A-Za-z0-9_-]{16,}|AKIA[A-Z0-9]{16}|sk-[A-Za-z0-9_-]{20,})"
    r"|(?<=://)[^/\s@:]*:[^/\s]*(?=@)"
)
MASK = "***"


def redact(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with tokens of known shapes, and the values of secret environment variables, replaced by `***`.

    Args:
        text: a message, a traceback, a log line.
        environ: variables; those whose name speaks of a token, password, secret or key hold secrets.
    """
    for name, value in environ.items():
        if len(value) >= _SHORTEST and _SECRET_VARIABLE.search(name):
            text = text.replace(value, MASK)
    return _KNOWN_SHAPES.sub(MASK, text)
