"""`run.log`: what happened during a run, warnings of libraries included."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def run_file_log(run_folder: Path) -> Iterator[logging.Logger]:
    """Sends modeltest's and the libraries' messages to `run.log` while it is open.

    Warnings of libraries go to the file only: the terminal is for what the user must know.
    """
    handler = logging.FileHandler(run_folder / "run.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    libraries = logging.getLogger("transformers")
    taken = list(libraries.handlers)
    for library_handler in taken:
        libraries.removeHandler(library_handler)
    propagated, libraries.propagate = libraries.propagate, True
    try:
        yield logging.getLogger("modeltest")
    except BaseException as error:
        root.error("ended by %s: %s", type(error).__name__, error)
        raise
    finally:
        libraries.propagate = propagated
        for library_handler in taken:
            libraries.addHandler(library_handler)
        logging.captureWarnings(False)
        root.removeHandler(handler)
        root.setLevel(before)
        handler.close()
