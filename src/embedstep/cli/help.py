"""The help of groups of commands: whole sentences, wrapped to the terminal, under titles of what a person does."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

_LONG = 1000
"""Characters that click may keep of the first sentence of a command's help: it shortens by words to what fits."""


class HelpGroup(click.Group):
    """A group whose help lists its commands by section, each with the whole first sentence of its help."""

    # A group inside this one is listed in the same way.
    group_class = type

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Sequence[str]] | None = None,
        exit_codes: Mapping[int, str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Create a group.

        Args:
            args: as for `click.Group`.
            sections: names of commands by the title of their section; other commands follow under "Commands".
            exit_codes: meanings of the exit codes, to be listed last.
            kwargs: as for `click.Group`.
        """
        super().__init__(*args, **kwargs)
        self.sections = sections or {}
        self.exit_codes = exit_codes or {}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, with one width of the first column for all."""
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        shown = {name: one.get_short_help_str(_LONG) for name, one in found.items() if one and not one.hidden}
        in_sections = {name for names in self.sections.values() for name in names}
        others = [name for name in shown if name not in in_sections]
        width = max(map(len, shown), default=0)
        for title, names in {**self.sections, "Commands": others}.items():
            rows = [(name.ljust(width), shown[name]) for name in names if name in shown]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        if self.exit_codes:
            with formatter.section("Exit codes"):
                formatter.write_dl([(str(code), meaning) for code, meaning in self.exit_codes.items()])
        super().format_epilog(ctx, formatter)
