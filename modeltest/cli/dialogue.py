"""A dialogue at the prompt: questions that build on what was said and heard before."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from modeltest.cli.ask import Asker
from modeltest.cli.signals import Interrupted, unless_stopped
from modeltest.errors import EXIT_DEVICE, DataError, ModeltestError, UsageError, one_line
from modeltest.records import Prompt, Request, Turn
from modeltest.runner.material import Clip

PROMPT = "> "
HELP = """\
/audio FILE  adds a clip, or a folder of clips, to the next question
/reset       forgets everything that was said and heard
/help        shows this
/exit        ends the dialogue, as Ctrl-D does
Ctrl-C       stops the answer; at the prompt, ends the command
everything else is a question"""


class History:
    """What was said and heard so far, and the clips of the next question."""

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._heard: list[Clip] = []
        self._next: list[Clip] = []

    @property
    def num_clips(self) -> int:
        """Clips so far, those of the next question included."""
        return len(self._heard) + len(self._next)

    def add(self, clips: Sequence[Clip]) -> None:
        """Takes clips for the next question."""
        self._next += clips

    def request(self, question: str, asker: Asker) -> Request:
        """The question with everything before it; changes nothing.

        Raises:
            UsageError: There is no clip to ask about.
            ModeltestError: As `Asker.request`.
        """
        clips = [clip.audio for clip in (*self._heard, *self._next)]
        if not clips:
            raise UsageError("there is no clip to ask about; /audio FILE adds one")
        name = f"question {len(self._turns) + 1}"
        return asker.request(name, clips, Prompt(question, "chat", tuple(self._turns)))

    def answered(self, question: str, reply: str) -> None:
        """Keeps question, clips and reply."""
        self._turns.append(Turn(question, len(self._next), reply))
        self._heard += self._next
        self._next = []

    def forget(self) -> None:
        """Begins anew, without clips."""
        for part in (self._turns, self._heard, self._next):
            part.clear()


def hold_dialogue(
    asker: Asker, clips: Sequence[Clip], clips_at: Callable[[Path], Sequence[Clip]]
) -> None:
    """Answers questions from standard input until it ends or the user does.

    A question that failed or whose answer was stopped is not kept, but its clips stay for the
    next one.

    Args:
        asker: Its backend is loaded.
        clips: For the first question.
        clips_at: Decodes the clips of a file or folder.

    Raises:
        DeviceError: The device is lost.
        Interrupted: A signal at the prompt, or SIGTERM anywhere.
    """
    history = History()
    _add(history, clips)
    _prepare_terminal()
    while (line := _read_line()) is not None:
        line = line.strip()
        if line == "/exit":
            return
        try:
            if line.startswith("/"):
                _obey(line, history, clips_at)
            elif line:
                _answer(line.encode("utf-8", "replace").decode(), history, asker)
        except ModeltestError as error:
            if error.exit_code == EXIT_DEVICE:
                raise
            print(f"modeltest: {one_line(str(error))}", file=sys.stderr)


def show_clips(clips: Sequence[Clip], first: int = 1) -> None:
    """Names clips with the numbers by which the model knows them."""
    for number, clip in enumerate(clips, start=first):
        note = f"; {clip.audio.note}" if clip.audio.note else ""
        described = one_line(f"{clip.name}, {clip.audio.duration_s:.2f} s{note}")
        print(f"Audio {number}: {described}", file=sys.stderr)


def _answer(question: str, history: History, asker: Asker) -> None:
    request = history.request(question, asker)
    response = unless_stopped(lambda: asker.ask(request))
    if response is None:
        print("stopped; neither question nor answer is kept", file=sys.stderr)
    elif not response.error:
        history.answered(question, response.text)


def _obey(command: str, history: History, clips_at: Callable[[Path], Sequence[Clip]]) -> None:
    name, _, rest = command.partition(" ")
    if name == "/audio" and rest:
        _add(history, _heard_at(rest.strip(), clips_at))
    elif command == "/reset":
        history.forget()
    elif command == "/help":
        print(HELP, file=sys.stderr)
    else:
        raise UsageError(f"{name}: not understood; /help shows what is")


def _heard_at(path: str, clips_at: Callable[[Path], Sequence[Clip]]) -> Sequence[Clip]:
    try:
        return clips_at(Path(os.path.expanduser(path)))
    except OSError as error:  # too long, forbidden
        raise DataError(f"/audio {path}: {error.strerror}") from error


def _add(history: History, clips: Sequence[Clip]) -> None:
    show_clips(clips, history.num_clips + 1)
    history.add(clips)


def _prepare_terminal() -> None:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # as file names are
    if _is_terminal(sys.stdin):
        print("Ask about the clips; /help shows what else there is.", file=sys.stderr)
        with suppress(ImportError):  # not every Python has it
            import readline  # noqa: F401  # gives `input` editing and a history


def _read_line() -> str | None:
    """The next line of standard input; None where it ends."""
    if not _is_terminal(sys.stdin):
        return (sys.stdin.readline() if sys.stdin else "") or None
    try:
        if _is_terminal(sys.stdout):
            return input(PROMPT)
        print(PROMPT, end="", file=sys.stderr, flush=True)  # answers alone go into a file
        return sys.stdin.readline() or None
    except EOFError:
        print(file=sys.stderr)  # what follows is not the prompt's line
        return None
    except Interrupted:
        print(file=sys.stderr)
        raise


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
