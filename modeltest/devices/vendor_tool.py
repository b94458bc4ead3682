"""Asks a vendor's command-line tool, which may be missing, slow, hung or broken."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from modeltest.devices.outside_call import Deadline, OutsideCall

_TIMEOUT_S = 5
_MOST_CHARACTERS = 200_000


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a tool said.

    Attributes:
        output: What it printed; empty where it failed.
        why_not: Why nothing is known; empty where it answered.
        installed: Whether it is there.
        hung: It did not answer in time.
    """

    output: str = ""
    why_not: str = ""
    installed: bool = True
    hung: bool = False


class ToolCall:
    """A tool that was started, if it is there, and is asked for its answer later."""

    def __init__(self, command: Sequence[str], deadline: Deadline) -> None:
        """Starts it and returns at once.

        Args:
            command: Program and arguments; no shell.
            deadline: When it has to have answered.
        """
        self._name = command[0]
        self._limit_s = deadline.limit_s
        self._call: OutsideCall | None = None
        try:
            self._call = OutsideCall(command, deadline)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            why_not = "is not installed" if missing else f"cannot be started ({error.strerror})"
            self._failed = ToolAnswer(why_not=f"{self._name} {why_not}", installed=not missing)

    def __enter__(self) -> ToolCall:
        return self

    def __exit__(self, *_: object) -> None:
        if self._call:
            self._call.__exit__()

    def answer(self) -> ToolAnswer:
        """Waits for it, no longer than until the deadline."""
        if self._call is None:
            return self._failed
        answer = self._call.answer()
        if answer.status is None:
            why_not = f"{self._name} did not answer within {self._limit_s:g} s"
            return ToolAnswer(why_not=why_not, hung=True)
        if answer.status:
            said = " ".join((answer.messages or answer.output).split())[:200]
            return ToolAnswer(why_not=f"{self._name} ended with status {answer.status}: {said}")
        return ToolAnswer(answer.output[:_MOST_CHARACTERS])


def ask_tool(command: Sequence[str]) -> tuple[str, str]:
    """Runs a tool that reports.

    Args:
        command: Program and arguments; no shell.

    Returns:
        What it printed, and why nothing is known, one of them empty.
    """
    [answer] = ask_tools(command)
    return answer


def ask_tools(*commands: Sequence[str]) -> list[tuple[str, str]]:
    """Runs tools at the same time, which together have the time that one has.

    Args:
        commands: As of `ask_tool`.

    Returns:
        What `ask_tool` does, for each.
    """
    deadline = Deadline(_TIMEOUT_S)
    with ExitStack() as started:
        calls = [started.enter_context(ToolCall(command, deadline)) for command in commands]
        answers = [call.answer() for call in calls]
    return [(answer.output, answer.why_not) for answer in answers]
