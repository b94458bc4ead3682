"""From what a user calls a run to its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from modeltest.errors import UsageError, one_line
from modeltest.runlog.layout import MANIFEST_NAME, PARITY_NAME

LAST = "last"


_PATTERNS = (
    f"*/modeltest/*/precision_result/runs/*/{MANIFEST_NAME}",
    f"*/modeltest/*/performance_result/*/{MANIFEST_NAME}",
)
_PARITY = f"*/modeltest/*/parity_result/*/{PARITY_NAME}"


def run_folders(output_dir: Path, *, with_parity: bool = False) -> Iterator[Path]:
    """The folders of all runs below an output folder, oldest first.

    Args:
        output_dir: Where runs are.
        with_parity: Checks of `modeltest parity` among them: they have no manifest and no log,
            so that there is nothing to resume, to compare or to report again.
    """
    patterns = (*_PATTERNS, *([_PARITY] if with_parity else []))
    found = (path.parent for pattern in patterns for path in output_dir.glob(pattern))
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
        UsageError: There is no such run of `eval` or `perf`, or several.
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
    _refuse_parity(name, output_dir)
    known = f"newest: {runs[-1].name}" if runs else "there are no runs"
    raise UsageError(
        f"no run {name!r} below {output_dir} ({known}); give a path, a run id or 'last', or "
        "--output-dir"
    )


def _refuse_parity(name: str, output_dir: Path) -> None:
    named = [Path(name)] if (Path(name) / PARITY_NAME).is_file() else []
    checks = [path.parent for path in output_dir.glob(_PARITY) if path.parent.name == name]
    if found := [*named, *checks]:
        raise UsageError(
            one_line(f"{name} is a check of `modeltest parity`, whose tables are in {found[0]}; ")
            + "give a run of eval or perf, or 'last'"
        )
