"""The help of the program and of each command: whole sentences, in any terminal."""

import re
from collections.abc import Iterator

import click
import pytest

from embedstep.cli.program import main

Path = tuple[str, ...]


def commands(group: click.Group = main, path: Path = ()) -> Iterator[tuple[Path, click.Command]]:
    """All commands, also those of groups, with the words that name them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands())
OPTIONS = [
    pytest.param(one.help, id=f"{' '.join(path)} {one.opts[0]}")
    for path, command in COMMANDS.items()
    for one in command.params
    if isinstance(one, click.Option)
]


def help_of(monkeypatch: pytest.MonkeyPatch, command: click.Command, columns: int) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    context = click.Context(command, info_name="embedstep", **main.context_settings)
    return command.get_help(context)


def is_sentences(text: str) -> bool:
    """Whether a text begins with a capital and ends with a full stop, but for a default in brackets."""
    return re.fullmatch(r"[A-Z].*\.(  \[default: .*\])?", text.strip(), flags=re.DOTALL) is not None


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_begins_with_a_whole_sentence_of_at_most_two_lines(path: Path) -> None:
    summary = COMMANDS[path].get_short_help_str(1000)
    assert is_sentences(summary)
    assert "..." not in summary
    assert len(summary) <= 2 * 66 or path[0] == "task"


@pytest.mark.parametrize("text", OPTIONS)
def test_an_option_is_described_in_sentences(text: str | None) -> None:
    assert text is not None
    assert is_sentences(text)


@pytest.mark.parametrize("path", [path for path in COMMANDS if path[0] not in ("task", "node")], ids=" ".join)
def test_a_command_has_an_example_that_names_it(path: Path) -> None:
    text = COMMANDS[path].help
    assert text is not None
    assert re.search(rf"Examples?:\n +embedstep {' '.join(path)}|\| embedstep {' '.join(path)}", text)


def test_each_command_is_in_one_section() -> None:
    shown = [name for path, command in COMMANDS.items() if len(path) == 1 and not command.hidden for name in path]
    assert sorted(name for names in main.sections.values() for name in names) == sorted(shown)


def test_the_sections_follow_what_a_person_does(monkeypatch: pytest.MonkeyPatch) -> None:
    text = help_of(monkeypatch, main, 80)
    assert re.findall(r"^(\S.*):$", text, re.MULTILINE) == [
        "Options",
        "Start",
        "Compare and promote",
        "Finished runs",
        "Arguments and older scripts",
        "Clusters and schedules",
        "Data",
        "Exit codes",
    ]
    assert re.findall(r"^  (\w+)", text[text.index("Start:") : text.index("Compare")], re.MULTILINE) == [
        "init", "check", "plan", "run", "explain",
    ]  # fmt: skip


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_the_help_is_wrapped_to_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    lines = [line for line in help_of(monkeypatch, main, columns).splitlines() if "  embedstep " not in line]
    width = min(columns, 100)
    assert max(map(len, lines)) in range(width - 20, width + 1)
    text = " ".join(" ".join(lines).split())
    for path, command in COMMANDS.items():
        if len(path) == 1 and not command.hidden:
            assert f"{path[0]} {command.get_short_help_str(1000)}" in text


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_an_example_is_not_wrapped(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    command = COMMANDS[path]
    text = help_of(monkeypatch, command, 60)
    for example in re.findall(r"^ +((?:embedstep|cat) .*)$", command.help or "", re.MULTILINE):
        assert f"    {example}\n" in f"{text}\n"


def test_a_command_without_a_section_is_listed_last() -> None:
    from embedstep.cli.help import HelpGroup

    group = HelpGroup(sections={"First": ("b",)}, exit_codes={0: "Good."})
    for name in "abc":
        group.add_command(click.Command(name, help=f"Do {name}.", hidden=name == "c"))
    assert group.get_help(click.Context(group, info_name="x")).splitlines()[-8:] == [
        "First:",
        "  b  Do b.",
        "",
        "Commands:",
        "  a  Do a.",
        "",
        "Exit codes:",
        "  0  Good.",
    ]
