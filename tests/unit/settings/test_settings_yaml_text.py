"""Strict YAML: what is read, what is refused, and the words of each refusal."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modeltest.errors import SettingsError
from modeltest.settings.yaml_text import MAX_BYTES, decode_text, read_value, read_yaml


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("y", "y"),
        ("null", None),
        ("~", None),
        ("", None),
        ("NULL", None),
        ("nULL", "nULL"),
        ("0", 0),
        ("-0", 0),
        ("+12", 12),
        ("0o17", 15),
        ("0xFF", 255),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1.25e+2", -125.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("+.Inf", math.inf),
        ("inf", "inf"),
        ("12:30:45", "12:30:45"),
        ("18-25", "18-25"),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31 12:00:00", "2024-01-31 12:00:00"),
        ("=", "="),
        ("'010'", "010"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("!!float 3", 3.0),
        ("[a, 1, null]", ["a", 1, None]),
        ("{f: female, m: male}", {"f": "female", "m": "male"}),
        ("!!map {a: !!seq [1]}", {"a": [1]}),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ("笑声", "笑声"),
    ],
)
def test_a_value_follows_the_core_schema_of_yaml_1_2(text: str, expected: Any) -> None:
    value = read_value(text, "--set x")
    assert value == expected
    assert type(value) is type(expected)


def test_not_a_number_is_a_float() -> None:
    value = read_value(".NaN", "--set x")
    assert isinstance(value, float)
    assert math.isnan(value)


def test_positions_name_the_line_and_column_of_every_key_and_item() -> None:
    text = (
        "# a comment\n"
        "name: x\n"
        "mm_model:\n"
        "  warm_up_audio_path:\n"
        "    - one.wav\n"
        "    - two.wav\n"
        "flow: {a: [1, 2]}\n"
    )
    data, positions = read_yaml(text, "f.yaml")
    assert data == {
        "name": "x",
        "mm_model": {"warm_up_audio_path": ["one.wav", "two.wav"]},
        "flow": {"a": [1, 2]},
    }
    assert positions == {
        ("name",): (2, 1),
        ("mm_model",): (3, 1),
        ("mm_model", "warm_up_audio_path"): (4, 3),
        ("mm_model", "warm_up_audio_path", 0): (5, 7),
        ("mm_model", "warm_up_audio_path", 1): (6, 7),
        ("flow",): (7, 1),
        ("flow", "a"): (7, 8),
        ("flow", "a", 0): (7, 12),
        ("flow", "a", 1): (7, 15),
    }


SYNTAX_HINT = "check indentation, brackets and quotes here and on the line before"
ANCHOR = "anchors (&) and aliases (*) are not read; write the value out, or quote it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1: key 'a': set again, first on line 1; delete one of the two"),
        (
            "a:\n  - b: 1\n    'b': 2\n",
            "3:5: key 'a[0].b': set again, first on line 2; delete one of the two",
        ),
        ("a: &x 1\n", "1:4: key 'a': " + ANCHOR),
        ("a: 1\nb:\n- *x\n", "3:3: key 'b[0]': " + ANCHOR),
        ("&x a: 1\n", "1:1: " + ANCHOR),
        (
            "a:\n  <<: {b: 1}\n",
            "2:3: key 'a.<<': merge keys are not read; write the keys out, or use `extends: NAME`",
        ),
        (
            "a: !!python/name:os.system x\n",
            "1:4: key 'a': tag !!python/name:os.system does not fit here; write a plain value",
        ),
        ("a: !mine x\n", "1:4: key 'a': tag !mine does not fit here; write a plain value"),
        ("a: !!binary aGk=\n", "1:4: key 'a': tag !!binary does not fit here; write a plain value"),
        ("a: !!set {b}\n", "1:4: key 'a': tag !!set does not fit here; write a plain value"),
        ("a: !!str [b]\n", "1:4: key 'a': tag !!str does not fit here; write a plain value"),
        ("a: !!map b\n", "1:4: key 'a': tag !!map does not fit here; write a plain value"),
        ("a: !!int b\n", "1:4: key 'a': 'b' does not fit its tag !!int; delete the tag"),
        ("a: !!bool yes\n", "1:4: key 'a': 'yes' does not fit its tag !!bool; delete the tag"),
        ("- a\n", "1:1: expected a mapping at the top level, found a list;"),
        ("hello\n", "1:1: expected a mapping at the top level, found the string 'hello';"),
        ("", "1:1: expected a mapping at the top level, found nothing; write one `key: value`"),
        ("# only a comment\n", "1:1: expected a mapping at the top level, found nothing;"),
        ("1: a\n", "1:1: key '1': keys are text; put the key in quotes"),
        ("a:\n  true: b\n", "2:3: key 'a.true': keys are text; put the key in quotes"),
        ("~: b\n", "1:1: key '~': keys are text; put the key in quotes"),
        ("a: ! 12\n", "1:4: key 'a': tag ! does not fit here; write a plain value"),
        ("a:\n  ? [b]\n  : c\n", "2:5: key 'a': a key is a list or mapping; write a plain word"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document starts; keep one document per file"),
        (
            "a: 010\n",
            "1:4: key 'a': 010 has a leading zero, which YAML versions read differently; "
            "write 10, or '010' in quotes for text",
        ),
        ("a: -08\n", "1:4: key 'a': -08 has a leading zero, which YAML versions read differently;"),
        (
            "a: " + "9" * 101,
            "1:4: key 'a': a number of more than 100 digits; put text in quotes",
        ),
        (
            'a: "\\ud83d"\n',
            "1:4: key 'a': half of a surrogate pair (\\uD800–\\uDFFF); write the character itself",
        ),
        ("a: [1, 2\n", "2:1: not valid YAML: expected ',' or ']', but got '<stream end>'; "),
        (
            "a: b: c\n",
            "1:5: not valid YAML: mapping values are not allowed here; " + SYNTAX_HINT,
        ),
        (
            "a:\n\tb: 1\n",
            "2:1: not valid YAML: found character '\\t' that cannot start any token; "
            "indent with spaces",
        ),
        ("a: 1\nbb: \x07\n", "2:5: character U+0007; delete it, or write it as"),
        ("a: 1\nbb: x\x85\n", "2:6: character U+0085; delete it, or write it as"),
        ("a: 'x\u2028y'\n", "1:6: character U+2028; delete it, or write it as"),
        (
            'a: "\\Uffffffff"\n',
            "1:7: not valid YAML: a number in an escape or directive is out of range; ",
        ),
    ],
)
def test_a_refusal_names_file_line_column_and_key(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_yaml(text, "f.yaml")
    assert str(caught.value).startswith("f.yaml:" + message)
    assert "\n" not in str(caught.value)


def test_a_quoted_merge_key_is_an_ordinary_key() -> None:
    assert read_yaml("'<<': 1\n", "f.yaml")[0] == {"<<": 1}


def _nested_mappings(depth: int) -> str:
    return "".join(" " * level + "a:\n" for level in range(depth - 1)) + " " * depth + "a: 1\n"


def test_twenty_levels_are_read() -> None:
    data: Any = read_yaml(_nested_mappings(20), "f.yaml")[0]
    for _ in range(20):
        data = data["a"]
    assert data == 1


@pytest.mark.parametrize(
    ("text", "place"), [(_nested_mappings(21), "21:22"), ("a: " + "[" * 100_000, "1:23")]
)
def test_deeper_nesting_is_refused(text: str, place: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_yaml(text, "f.yaml")
    expected = f"f.yaml:{place}: nested more than 20 deep; settings are never that deep"
    assert str(caught.value) == expected


def test_more_than_one_mebibyte_is_refused() -> None:
    message = r"f\.yaml: larger than 1 MiB; is this really a settings file\?"
    assert read_yaml("a: 1\n#" + "x" * (MAX_BYTES - 6), "f.yaml")[0] == {"a": 1}
    with pytest.raises(SettingsError, match=message):
        read_yaml("a: 1\n#" + "x" * (MAX_BYTES - 5), "f.yaml")
    with pytest.raises(SettingsError, match=message):
        read_yaml("a: 1\n#" + "笑" * (MAX_BYTES // 3), "f.yaml")
    assert len(decode_text(b"x" * MAX_BYTES, "f.yaml")) == MAX_BYTES
    with pytest.raises(SettingsError, match=message):
        decode_text(b"x" * (MAX_BYTES + 1), "f.yaml")


def test_bytes_that_are_not_utf_8_are_refused_with_their_place() -> None:
    with pytest.raises(SettingsError) as caught:
        decode_text(b"a: 1\nbc: \xff\n", "f.yaml")
    assert str(caught.value) == "f.yaml:2:5: byte 0xff is not UTF-8; save the file as UTF-8"


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert decode_text(b"\xef\xbb\xbfa: 1\r\n", "f.yaml") == "a: 1\r\n"


def test_a_refused_value_shows_what_was_typed_instead_of_a_place() -> None:
    with pytest.raises(SettingsError) as caught:
        read_value("{a: 1, a: 2}", "--set x={a: 1, a: 2}")
    expected = "--set x={a: 1, a: 2}: key 'a': set twice; delete one of the two"
    assert str(caught.value) == expected
    with pytest.raises(SettingsError) as caught:
        read_value("[", "--set x=[")
    assert str(caught.value).startswith("--set x=[: not valid YAML: ")
    assert str(caught.value).endswith("; put text inside two pairs of quotes: 'KEY=\"VALUE\"'")


# NEL, LS and PS end a line in YAML 1.1 only.
# Text that starts like a number may be plain text in YAML 1.1 and a number in 1.2 (`1e3`).
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029")
).filter(lambda text: not re.match(r"[-+.0-9]", text))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(TEXT, VALUES, max_size=5), st.booleans())
def test_what_pyyaml_writes_is_read_back(data: dict[str, Any], flow: bool) -> None:
    text = yaml.dump(data, Dumper=_PlainDumper, default_flow_style=flow, allow_unicode=True)
    assert read_yaml(text, "f.yaml")[0] == data


def test_deep_and_long_input_is_refused_quickly() -> None:
    start_s = time.perf_counter()
    with pytest.raises(SettingsError):
        read_yaml("a: " + "{a: " * 200_000, "f.yaml")
    assert time.perf_counter() - start_s < 5
