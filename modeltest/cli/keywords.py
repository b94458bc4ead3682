"""From Python keywords to the options of a command, by the command's own parser."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, Protocol

from modeltest.errors import UsageError, one_line

_COMMAND_LINE_ONLY = {"dry_run"}  # prints a plan, and there is no run


class Command(Protocol):
    """What a file of `modeltest.cli` offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the command line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(one_line(message.removeprefix("argument ")))


def parse(
    names: tuple[str, str],
    command: Command,
    positional: Sequence[str | Path],
    keywords: Mapping[str, Any],
    aliases: Mapping[str, str] | None = None,
) -> argparse.Namespace:
    """The options as the command line would have them.

    Args:
        names: Of the function, for messages, and of the command.
        command: Declares the options.
        positional: The command's positional arguments.
        keywords: Options, `-` written `_`. None and False leave one out, True gives it without
            a value, a list or tuple joins values by commas, and for options that may be
            repeated gives each; a mapping gives KEY=VALUE, the values as JSON.
        aliases: Other names of keywords, in place of the options' own.

    Raises:
        TypeError: There is no such option.
        UsageError: A value is refused.
    """
    function, name = names
    parser = _Parser(prog=f"modeltest {name}", add_help=False, allow_abbrev=False)
    command.add_arguments(parser)
    options = _options(parser, aliases or {})
    words = [str(word) for word in positional]
    for keyword, value in keywords.items():
        if keyword not in options:
            [similar] = get_close_matches(keyword, options, n=1, cutoff=0.0)
            near = (aliases or {}).get(keyword, similar)
            raise TypeError(
                f"{function}() has no option {keyword!r}; did you mean {near!r}? See `modeltest "
                f"{name} --help`, and write - as _"
            )
        words += _words(options[keyword], value)
    parsed = parser.parse_args(words)
    parsed.command, parsed.dry_run = name, False
    parsed.started_as = ["modeltest", name, *words]
    return parsed


def _options(
    parser: argparse.ArgumentParser, aliases: Mapping[str, str]
) -> dict[str, argparse.Action]:
    found: dict[str, argparse.Action] = {}
    for action in parser._actions:
        for option in action.option_strings:
            keyword = option.removeprefix("--").replace("-", "_")
            if keyword not in _COMMAND_LINE_ONLY:
                found[aliases.get(keyword, keyword)] = action
    return found


def _words(action: argparse.Action, value: Any) -> Iterator[str]:
    option = action.option_strings[0]
    if value is None or value is False:
        return
    if value is True:
        yield option
        return
    if isinstance(value, Mapping):
        value = [f"{key}={json.dumps(each, ensure_ascii=False, default=str)}"
                 for key, each in value.items()]  # fmt: skip
    repeated = isinstance(action.default, list)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        texts = [str(each) for each in value]
        value = texts if repeated else [",".join(texts)]
    else:
        value = [value]
    for text in value:
        yield f"{option}={text}"
