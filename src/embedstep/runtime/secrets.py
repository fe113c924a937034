"""Keep secret values out of every text that is written down or shown."""

import re
from collections.abc import Mapping

SECRET_NAME = re.compile(
    r"token(?!s_|iz)|password|passwd|secret|credential|api_?key|access_?key", re.IGNORECASE
)  # fmt: skip
"""Names of fields and variables whose value is not shown."""
_SHORTEST = 8
_KNOWN_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|xox[abeprs]-[A-Za-z0-9-]{10,}|glpat-[A-Za-z0-9_-]{16,}|AKIA[A-Z0-9]{16}|sk-[A-Za-z0-9_-]{20,})"
    r"|(?<=://)[^/\s@:]*:[^/\s]*(?=@)"
)
# A signed address or a password as a query parameter: what follows the sign up to the next parameter.
_IN_QUERY = re.compile(
    r"(?<=[?&])([\w.-]*(?:token|password|passwd|secret|signature|credential|api_?key|access_?key)[\w.-]*|sig)=[^&\s#'\"]+",
    re.IGNORECASE,
)
MASK = "***"


def redact(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with what is secret replaced by `***`.

    That is: tokens of known shapes, passwords and signatures in addresses, and the values of secret variables.

    Args:
        text: a message, a traceback, a log line.
        environ: variables; those whose name speaks of a token, password, secret or key hold secrets.
    """
    for name, value in environ.items():
        if len(value) >= _SHORTEST and SECRET_NAME.search(name):
            text = text.replace(value, MASK)
    return _IN_QUERY.sub(rf"\1={MASK}", _KNOWN_SHAPES.sub(MASK, text))


def holds_secret(text: str) -> bool:
    """Whether a password, token or signature stands in `text` in a shape by which it can be known."""
    return redact(text, {}) != text
