"""Walking a data folder: which files are clips by their ending, and which are not."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modeltest.errors import one_line
from modeltest.records import AudioSource
from modeltest.tasks.data.found import Problem

AUDIO_ENDINGS = frozenset(
    {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".au"}
)
UNREADABLE_AUDIO_ENDINGS = frozenset({".aac", ".amr", ".m4a", ".mp4", ".webm", ".wma"})
NO_ENDING = "(no ending)"


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A file that is a clip by its ending.

    Attributes:
        relative: Its path below the data folder.
        root: The data folder.
    """

    relative: PurePosixPath
    root: Path

    @property
    def name(self) -> str:
        """What a user recognises it by, fit for a message of one line."""
        return one_line(self.relative.as_posix())

    def source(self) -> AudioSource:
        """The undecoded clip."""
        # As text: a path object per clip and access would cost more than all the rest.
        return AudioSource(name=self.name, path=os.path.join(self.root, self.relative))


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """Everything below a data folder, hidden files left out.

    Attributes:
        root: The folder.
        names: Paths of the clips below it, sorted.
        passed_over: Ending → count of the other files.
        problems: Folders that cannot be read.
    """

    root: Path
    names: Sequence[str]
    passed_over: Mapping[str, int]
    problems: tuple[Problem, ...]

    @property
    def audio(self) -> Iterator[AudioFile]:
        """The clips, sorted by their path."""
        return (AudioFile(PurePosixPath(name), self.root) for name in self.names)

    def warnings(self) -> tuple[str, ...]:
        """Says which audio was passed over because libsndfile does not read its form."""
        return tuple(
            f"{count} {ending} files are passed over: convert them to FLAC or WAV"
            for ending, count in self.passed_over.items()
            if ending in UNREADABLE_AUDIO_ENDINGS
        )


def walk(root: Path) -> FoundFiles:
    """Lists all files below a folder, each real folder once.

    A folder is listed under its own place; one that only a symbolic link reaches is
    listed under the link.

    Args:
        root: The data folder.

    Returns:
        What it holds, in an order that does not depend on the file system.
    """
    names: list[str] = []
    passed_over: Counter[str] = Counter()
    problems: list[Problem] = []
    folders = deque([PurePosixPath()])
    linked: deque[PurePosixPath] = deque()
    seen: set[tuple[int, int]] = set()
    while folders or linked:
        folder = (folders or linked).popleft()
        try:
            facts = (root / folder).stat()
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            entries = _visible_entries(root / folder)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            problems.append(Problem(one_line(f"{folder}/"), f"unreadable folder: {reason}"))
            continue
        for entry in entries:
            relative = folder / entry.name
            if entry.is_dir():
                (linked if entry.is_symlink() else folders).append(relative)
            elif relative.suffix.lower() in AUDIO_ENDINGS:
                names.append(relative.as_posix())
            else:
                passed_over[one_line(relative.suffix.lower()) or NO_ENDING] += 1
    names.sort()
    return FoundFiles(root, names, dict(sorted(passed_over.items())), tuple(problems))


def _visible_entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(
            (entry for entry in entries if not entry.name.startswith(".")),
            key=lambda entry: entry.name,
        )
