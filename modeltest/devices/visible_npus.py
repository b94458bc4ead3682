"""`ASCEND_RT_VISIBLE_DEVICES`, read as torch_npu reads it; what it would misread is refused.

torch_npu 2.13.0 (`torch_npu/npu/__init__.py`) reads digits and commas, stops at the first
other character without a word (`1, 2` is device 1 alone) and takes a list that does not ascend
for an empty one. Devices are then numbered from 0 in the order of the list.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from modeltest.errors import UsageError

VARIABLE = "ASCEND_RT_VISIBLE_DEVICES"


def visible_npus(environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """The devices that the variable lets through.

    Returns:
        Their numbers, none for an empty variable; None where it is not set: all of them.

    Raises:
        UsageError: torch_npu would take it for something else than it says.
    """
    text = environ.get(VARIABLE)
    if text is None:
        return None
    if text == "":
        return ()
    words = text.split(",")
    if not all(word.isascii() and word.isdigit() for word in words):
        raise _refusal(text, "may hold digits and commas only, no spaces")
    numbers = tuple(int(word) for word in words)
    if any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
        raise _refusal(text, "must ascend, each device once")
    return numbers


def _refusal(text: str, rule: str) -> UsageError:
    return UsageError(
        f"{VARIABLE}={text!r}: {rule}; torch_npu would misread it; write for example 0,1"
    )
