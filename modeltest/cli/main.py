"""The `modeltest` command: one file per subcommand, loaded when it is asked for.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence

import modeltest
from modeltest.cli import (
    chat,
    check,
    compare,
    evaluate,
    listing,
    parity,
    perf,
    report,
    rescore,
    serve,
)
from modeltest.cli.signals import Interrupted, interruptible
from modeltest.errors import EXIT_DEVICE, ModeltestError, one_line

_EPILOG = """\
examples:
  modeltest eval vocalsound_mini qwen2_audio_tiny  try it: embedded model, clips
  modeltest eval vocalsound qwen2_audio --bs 8 \\
      --set model.model_path=/weights/Qwen2-Audio-7B-Instruct \\
      --set task.local_dataset_path=/data/vs_release_16k
  modeltest perf qwen2_audio_tiny --bs 1,2,4,8,16  speed by batch size
  modeltest check vocalsound qwen2_audio           what is missing
"""

_COMMANDS = (
    ("eval", evaluate),
    ("perf", perf),
    ("chat", chat),
    ("serve", serve),
    ("compare", compare),
    ("parity", parity),
    ("report", report),
    ("rescore", rescore),
    ("list", listing),
    ("check", check),
)

# What the disk may refuse anywhere, and what the user can do about it.
_DISK_REFUSES: dict[int | None, str] = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EROFS: "make the disk writable",
    errno.EIO: "check the disk",
}


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="modeltest",
        description="Is this audio language model, on this device, as accurate and fast\nas it "
        "should be?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"modeltest {modeltest.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in _COMMANDS:
        subparser = commands.add_parser(
            name,
            help=command.HELP,
            description=command.HELP,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,  # scripts look for options by their whole names
        )
        command.add_arguments(subparser)
        subparser.set_defaults(execute=command.execute)
    return parser


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Appends defaults that tell something: not None, an empty list or a switch that is off."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, []):
            return action.help
        return super()._get_help_string(action)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Command line without the program's name; `sys.argv` when left out.

    Returns:
        The exit code of the contract: 0 sound, 2 usage, 3 INVALID, …
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its escape, not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Models and data are local; the libraries read these when they are imported.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        with interruptible():
            return int(options.execute(options))
    except ModeltestError as error:
        lines = [one_line(line) for line in str(error).split("\n")]
        print("modeltest:", "\n".join(lines), file=sys.stderr)
        return error.exit_code
    except Interrupted as interruption:
        print(f"modeltest: ended by {interruption}", file=sys.stderr)
        return interruption.exit_code
    except BrokenPipeError:
        # The reader of the output left (`modeltest list | head`); nothing is wrong.
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in _DISK_REFUSES:
            raise
        todo = _DISK_REFUSES[error.errno]
        print(f"modeltest: {one_line(str(error))}; {todo} and try again", file=sys.stderr)
        return EXIT_DEVICE


def console() -> None:
    """Entry point of the installed command."""
    sys.exit(main())
