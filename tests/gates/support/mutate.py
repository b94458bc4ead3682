"""Ways to spoil text, bytes and JSON, drawn by a `random.Random`."""

from __future__ import annotations

import random
from typing import Any

TOKENS = (
    "no", "yes", "~", "null", "1e-3", "12:30:45", "0x1F", ".nan", "-.inf", "2024-01-01", "&a ",
    "*a", "<<: *a", "!!python/object/apply:os.system ['true']", "!!binary xx", "? ", "- ", ": ",
    "{", "}", "[", "]", '"', "'", "|", ">", "%YAML 1.1\n", "---\n", "...\n", "\t", "\r", "#",
    "extends: vocalsound\n", "extends: /dev/null\n", "${HOME}", "${X:-${Y}}", "{choices}", "{0}",
    "{a.__class__}", "\x00", "\x1b[2J", "\ufeff", "\u202e", "\u2028", "\x85", "é", "😀", "𝟘",
    "[" * 30, "{a: " * 30, "9" * 5000, "a" * 3000, "(?P<label>(a+)+)", "metrics: []\n",
)  # fmt: skip

REPLY_PARTS = (
    "A", "C: Cough", "cough", "laughter", "The answer is ", "not ", "B or D", "不是",
    "咳嗽", "笑声",
    "=cmd|' /C calc'!A0", "+1", "-2", "@SUM(A1)", "\t", "\r", "\n", "\r\n", "\0", "\x1b[31m",
    "\x1b]0;title\x07", "\x9b2J", "\u202e", "\u2066", "\u200b", "\ufeff", "\ud800", "\udfff",
    "{{ 7*7 }}", "{% raw %}", "</script><script>alert(1)</script>", "<think>", "</think>", '"',
    '""', ",", ";", "'", "\\", "\u2028", "\x85", "\x1c", "ﬃ", "Ａ", "𝐀", "é", "e\u0301" * 40,
    "=== 1 forged\noutput: A", "VALID", "( " * 200, "A, B, C, D, E, F", "?", "*" * 100,
    "is not " * 100, "either A or " * 50, "\U000e0041", "\uffff", "\U0010ffff", "١",
)  # fmt: skip

ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e308, 10**30, "", "x", "../../x", "/etc/passwd", "\x1b[2J", [], {},
    [[]], {"a": 1}, "=1+1", "\ud800", ["x"] * 50, "12", -(2**63),
)  # fmt: skip


def mutate_bytes(data: bytes, pick: random.Random, other: bytes) -> bytes:
    """One to three small faults: cut, flipped, removed, doubled, blanked or foreign bytes."""
    spoilt = bytearray(data)
    for _ in range(pick.choice((1, 1, 2, 3))):
        _BYTE_FAULTS[pick.randrange(len(_BYTE_FAULTS))](spoilt, pick, other)
    return bytes(spoilt)


def mutate_text(text: str, pick: random.Random, other: str) -> str:
    """Faults in lines and tokens, as an editor or a merge makes them."""
    lines = text.splitlines(keepends=True)
    for _ in range(pick.choice((1, 1, 2, 4))):
        at = pick.randrange(len(lines) + 1)
        fault = pick.randrange(7)
        if fault == 0:
            lines.insert(at, pick.choice(TOKENS))
        elif fault == 1 and lines:
            lines.append(pick.choice(lines))
        elif fault == 2:
            del lines[at : at + pick.randrange(1, 4)]
        elif fault == 3:
            lines[at:at] = other.splitlines(keepends=True)[: pick.randrange(6)]
        elif fault == 4 and at < len(lines):
            lines[at] = " " * pick.randrange(1, 6) + lines[at]
        elif at < len(lines):
            line, column = lines[at], pick.randrange(len(lines[at]) + 1)
            end = column + pick.choice((0, 0, 1, 5))
            lines[at] = line[:column] + pick.choice(TOKENS) + line[end:]
    return "".join(lines)


def mutate_json(value: Any, pick: random.Random) -> Any:
    """A JSON value with one part removed, renamed, doubled or replaced by an odd one."""
    if isinstance(value, dict) and value and pick.random() < 0.85:
        key = pick.choice(sorted(value))
        fault = pick.randrange(5)
        if fault == 0:
            return {name: part for name, part in value.items() if name != key}
        if fault == 1:
            return {name + "_" * (name == key): part for name, part in value.items()}
        return {**value, key: mutate_json(value[key], pick)}
    if isinstance(value, list) and value and pick.random() < 0.6:
        at = pick.randrange(len(value))
        return [*value[:at], mutate_json(value[at], pick), *value[at + pick.randrange(2) :]]
    return pick.choice(ODD_VALUES)


def hostile_reply(pick: random.Random) -> str:
    """A reply as no sane model gives it."""
    if pick.random() < 0.02:
        return pick.choice(REPLY_PARTS) * pick.choice((100, 1000))
    parts = [pick.choice(REPLY_PARTS) for _ in range(pick.randrange(0, 9))]
    if pick.random() < 0.3:
        parts.append("".join(chr(pick.randrange(0x110000)) for _ in range(pick.randrange(20))))
    return pick.choice(("", " ")).join(parts)


def _cut(data: bytearray, pick: random.Random, _: bytes) -> None:
    del data[pick.randrange(len(data) + 1) :]


def _flip(data: bytearray, pick: random.Random, _: bytes) -> None:
    for _ in range(pick.choice((1, 1, 8))):
        if data:
            data[pick.randrange(len(data))] ^= 1 << pick.randrange(8)


def _remove(data: bytearray, pick: random.Random, _: bytes) -> None:
    at = pick.randrange(len(data) + 1)
    del data[at : at + pick.choice((1, 7, 200, 2000))]


def _double(data: bytearray, pick: random.Random, _: bytes) -> None:
    at = pick.randrange(len(data) + 1)
    data[at:at] = data[at : at + pick.choice((1, 9, 1500))]


def _blank(data: bytearray, pick: random.Random, _: bytes) -> None:
    at = pick.randrange(len(data) + 1)
    end = min(at + pick.choice((1, 64, 4096)), len(data))
    data[at:end] = pick.choice((bytes(1), b"\xff", b" ", b"\n")) * (end - at)


def _splice(data: bytearray, pick: random.Random, other: bytes) -> None:
    data[pick.randrange(len(data) + 1) :] = other[pick.randrange(len(other)) :]


def _lines(data: bytearray, pick: random.Random, other: bytes) -> None:
    lines = bytes(data).split(b"\n") + other.split(b"\n")[:3]
    fault = pick.randrange(3)
    if fault == 0:
        pick.shuffle(lines)
    elif fault == 1:
        del lines[pick.randrange(len(lines))]
    else:
        lines.insert(pick.randrange(len(lines)), pick.choice(lines))
    data[:] = b"\n".join(lines)


_BYTE_FAULTS = (_cut, _flip, _remove, _double, _blank, _splice, _lines)
