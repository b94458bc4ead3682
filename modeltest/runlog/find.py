"""From what a user calls a run to its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from modeltest.errors import UsageError
from modeltest.runlog.layout import MANIFEST_NAME

LAST = "last"


_PATTERNS = (
    f"*/modeltest/*/precision_result/runs/*/{MANIFEST_NAME}",
    f"*/modeltest/*/performance_result/*/{MANIFEST_NAME}",
)


def run_folders(output_dir: Path) -> Iterator[Path]:
    """The folders of all runs below an output folder, oldest first."""
    found = (path.parent for pattern in _PATTERNS for path in output_dir.glob(pattern))
    # Date and time of day are in the names; the path breaks ties of the same second.
    yield from sorted(
        found, key=lambda path: (path.relative_to(output_dir).parts[0], path.name, str(path))
    )


def find_run(name: str, output_dir: Path) -> Path:
    """The folder of a run.

    Args:
        name: A path, a run id, or `last`.
        output_dir: Where ids and `last` are looked for.

    Raises:
        UsageError: There is no such run, or several.
    """
    folder = Path(name)
    if (folder / MANIFEST_NAME).is_file():
        return folder.resolve()
    runs = list(run_folders(output_dir))
    if name == LAST and runs:
        return runs[-1].resolve()
    found = [run for run in runs if run.name == name]
    if len(found) == 1:
        return found[0].resolve()
    if found:
        raise UsageError(f"run {name} exists {len(found)} times; give its path: {found[0]}, …")
    known = f"newest: {runs[-1].name}" if runs else "there are no runs"
    raise UsageError(
        f"no run {name!r} below {output_dir} ({known}); give a path, a run id or 'last', or "
        "--output-dir"
    )
