"""Keep secrets out of messages, logs and files."""

import re
from collections.abc import Mapping

# Not `tokenizer` or `include_num_input_tokens_seen`, which are names of ordinary fields.
SECRET_NAME = re.compile(
    r"token(?!s_|iz)|password|passwd|secret|credential|api_?key|access_?key", re.IGNORECASE
)  # fmt: skip
"""Names of fields and variables with secret values."""
_LEAST_LENGTH = 8
_KNOWN_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|xox[abeprs]-[A-Za-z0-9-]{10,}|glpat-[A-Za-z0-9_-]{16,}|AKIA[A-Z0-9]{16}|sk-[A-Za-z0-9_-]{20,})"
    r"|(?<=://)[^/\s@:]*:[^/\s]*(?=@)"
)
# A signature or password in the query of a URL: the value up to the next parameter.
_IN_QUERY = re.compile(
    r"(?<=[?&])([\w.-]*(?:token|password|passwd|secret|signature|credential|api_?key|access_?key)[\w.-]*|sig)=[^&\s#'\"]+",
    re.IGNORECASE,
)
MASK = "***"


def redact(text: str, environ: Mapping[str, str]) -> str:
    """Replace secrets in `text` by `***`: tokens of known forms, passwords in URLs, and values of secret variables.

    Args:
        text: a message, a traceback, a log line.
        environ: environment variables; those named like a token, password, secret or key are secret.
    """
    for name, value in environ.items():
        if len(value) >= _LEAST_LENGTH and SECRET_NAME.search(name):
            text = text.replace(value, MASK)
    return _IN_QUERY.sub(rf"\1={MASK}", _KNOWN_SHAPES.sub(MASK, text))


def holds_secret(text: str) -> bool:
    """Whether `text` contains a token, password or signature of a known form."""
    return redact(text, {}) != text
