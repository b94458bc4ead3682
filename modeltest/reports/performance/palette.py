"""The plots' colours. On a page each is a variable of page.css with the PNG's colour as default."""

from __future__ import annotations

from collections.abc import Mapping

INK, SOFT, LINE, PAGE, BAD = "#1d2733", "#56616d", "#dbe1e8", "#ffffff", "#a3231a"
_BLUE, _ORANGE, _VIOLET, _GREEN = "#1f6fb2", "#c2611a", "#7b4fa3", "#1f8a7c"
_YELLOW, _PINK, _GREY = "#a5820c", "#b4608a", "#7f8d9b"

STAGE_COLOURS: Mapping[str, str] = {
    "feature": _PINK, "encoder": _VIOLET, "prefill": _GREEN, "decode": _BLUE,
    "detokenize": _YELLOW, "other": _GREY,
}  # fmt: skip
MODE_COLOURS: Mapping[str, str] = {"fixed": _BLUE, "natural": _ORANGE}

VARIABLES: Mapping[str, str] = {
    INK: "--ink", SOFT: "--soft", LINE: "--line", PAGE: "--page", BAD: "--bad-ink",
    _BLUE: "--plot-blue", _ORANGE: "--plot-orange", _VIOLET: "--plot-violet",
    _GREEN: "--plot-green", _YELLOW: "--plot-yellow", _PINK: "--plot-pink", _GREY: "--plot-grey",
}  # fmt: skip
"""Name in page.css by colour; no colour has two names."""
