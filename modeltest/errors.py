"""What a user can be told: every expected failure, with its exit code.

A `ModeltestError` prints as one line and ends the command with `exit_code`. Anything
else that escapes is a bug in modeltest and shows its traceback.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_INVALID = 3
EXIT_INCOMPLETE = 4
EXIT_DEVICE = 5
EXIT_SIGINT = 130
EXIT_SIGTERM = 143


class ModeltestError(Exception):
    """A failure that the user can mend: says what, where and what to do."""

    exit_code = EXIT_USAGE


class UsageError(ModeltestError):
    """Wrong words on the command line."""


class SettingsError(ModeltestError):
    """A settings file that cannot be used; the message names file, line and key."""


class DataError(ModeltestError):
    """Data that cannot be used: missing, unreadable, unlabelled, duplicate."""


class AudioError(ModeltestError):
    """One clip that cannot be decoded; at the sample boundary it becomes a value."""


class ModelError(ModeltestError):
    """A model folder that cannot be used."""


class StorageError(ModeltestError):
    """The disk refused to take a record or a report; what was written before is intact."""

    exit_code = EXIT_DEVICE


class DeviceError(ModeltestError):
    """A device that was asked for and cannot be had, or was lost."""

    exit_code = EXIT_DEVICE


def one_line(text: str) -> str:
    """Text in which nothing can forge a line or steer a terminal, and which UTF-8 can hold.

    Control, direction and other invisible characters and lone surrogates become escapes.
    """
    if text.isprintable():  # nearly always, and far cheaper to find out at once
        return text
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )
