"""Text for people."""


def shorten(text: str, limit: int) -> str:
    """Put a text on one line of at most `limit` characters. Not by words, because some languages have no spaces."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
