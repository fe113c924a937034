"""The page of the terms, generated from their table."""

from embedstep.cli.glossary import GLOSSARY, Term

_HEAD = """# Glossary

Made by `make golden` from the table in `src/embedstep/cli/glossary.py`. `embedstep explain WORD` prints a row of it.

One word for one thing, in code, commands, messages and documents. A value that is passed unchanged to transformers or
sentence-transformers keeps the library's name, so that you can search for it.
"""
_TAIL = """
Terms that we avoid: `config`, `settings` or `params` for the request; `job` for anything but a scheduler's own job; a
bare `batch_size`; `gpus` where processes are meant; `sample` for a row; `master` and `slave` outside of variables that
other programs define.
"""


def glossary_page() -> str:
    """Return `docs/glossary.md`."""
    parts = [_HEAD]
    for title, terms in GLOSSARY.items():
        parts += [f"## {title}\n", "| term | meaning | in code |", "|---|---|---|", *map(_row, terms), ""]
    return "\n".join(parts).rstrip("\n") + "\n" + _TAIL


def _row(term: Term) -> str:
    page = f" ([{term.page}]({term.page}))" if term.page else ""
    code = ", ".join(f"`{name}`" for name in term.code.split(", ")) if term.code else ""
    return f"| {term.names} | {term.meaning}{page} | {f'{code} ' if code else ''}|"
