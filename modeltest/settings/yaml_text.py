"""Strict YAML: text in, plain Python values and the position of every key out.

Scalars follow the core schema of YAML 1.2.2 (§10.3.2): `no`, `on` and `12:30:45` are text,
`1e-3` is a number, there are no dates. A number with a leading zero (`010`) is refused:
YAML 1.1 reads it as 8, YAML 1.2 as 10. Anchors, aliases, merge keys, application tags and
duplicate keys are refused as well, so that a file says what it seems to say.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml

from modeltest.errors import SettingsError, one_line
from modeltest.settings.wording import KeyPath, dotted, found, shortened

MAX_BYTES = 1 << 20
MAX_DEPTH = 20

Positions = dict[KeyPath, tuple[int, int]]

_TAG_PREFIX = "tag:yaml.org,2002:"
_STR, _MAP, _SEQ = _TAG_PREFIX + "str", _TAG_PREFIX + "map", _TAG_PREFIX + "seq"
_NULL, _BOOL = _TAG_PREFIX + "null", _TAG_PREFIX + "bool"
_INT, _FLOAT = _TAG_PREFIX + "int", _TAG_PREFIX + "float"
# In the order in which they are tried: the form of a float includes that of an integer.
_FORMS = {
    _NULL: re.compile(r"(?:null|Null|NULL|~|)\Z"),
    _BOOL: re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    _INT: re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    _FLOAT: re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
}
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_LONGEST_NUMBER = 100
# Line breaks to YAML 1.1, and so to PyYAML; ordinary characters to YAML 1.2.
_OLD_BREAK = re.compile("[\x85\u2028\u2029]")


def decode_text(raw: bytes, where: str) -> str:
    """Decodes the bytes of a settings file.

    Args:
        raw: The whole file; more than `MAX_BYTES` is refused.
        where: The file's name in messages.

    Raises:
        SettingsError: The file is too large or not UTF-8.
    """
    if len(raw) > MAX_BYTES:
        raise _too_large(where)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        raise SettingsError(
            f"{where}:{line}:{column}: byte 0x{raw[error.start]:02x} is not UTF-8; "
            "save the file as UTF-8"
        ) from None


def read_yaml(text: str, where: str) -> tuple[dict[str, Any], Positions]:
    """Reads one settings file.

    Args:
        text: The whole text of one document.
        where: The file's name in messages.

    Returns:
        The top-level mapping, and for every key path the 1-based line and column at which
        its key (in a list, its item) starts.

    Raises:
        SettingsError: The text is not strict YAML or not a mapping.
    """
    reading = _Reading(text, where, shows_positions=True)
    data = reading.data()
    if not isinstance(data, dict):
        raise SettingsError(
            f"{where}:1:1: expected a mapping at the top level, found {found(data)}; "
            "write one `key: value` per line"
        )
    return data, reading.positions


def read_value(text: str, where: str) -> Any:
    """Reads one value by the same rules, as `--set KEY=VALUE` gives it.

    Args:
        text: The value, of any type.
        where: What was typed, for messages; they show no line and column.

    Raises:
        SettingsError: The text is not strict YAML.
    """
    return _Reading(text, where, shows_positions=False).data()


def _too_large(where: str) -> SettingsError:
    return SettingsError(
        f"{where}: larger than {MAX_BYTES >> 20} MiB; is this really a settings file?"
    )


class _Refusal(Exception):
    def __init__(self, mark: yaml.Mark | None, path: KeyPath, what: str) -> None:
        super().__init__(what)
        self.mark, self.path, self.what = mark, path, what


class _StrictLoader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        self.yaml_implicit_resolvers = {None: list(_FORMS.items())}
        self._path: list[str | int | None] = []
        super().__init__(text)

    def single_node(self) -> yaml.Node | None:
        if not self.check_node():
            return None
        node = self.compose_document()
        if self.check_node():
            what = "a second document starts; keep one document per file"
            raise _Refusal(self.next_event().start_mark, (), what)
        return node

    def next_event(self) -> Any:
        self.check_event()  # reads the next event without consuming it
        return self.current_event

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._path.append(index.value if isinstance(index, yaml.ScalarNode) else index)
        event = self.next_event()
        path = tuple(part for part in self._path if isinstance(part, str | int))
        mark: yaml.Mark = event.start_mark
        if getattr(event, "anchor", None) is not None:
            what = "anchors (&) and aliases (*) are not read; write the value out, or quote it"
            raise _Refusal(mark, path, what)
        if getattr(event, "tag", None) == "!":
            raise _Refusal(mark, path, "tag ! does not fit here; write a plain value")
        if len(self._path) > MAX_DEPTH and isinstance(event, yaml.CollectionStartEvent):
            what = f"nested more than {MAX_DEPTH} deep; settings are never that deep"
            raise _Refusal(mark, (), what)
        node = super().compose_node(parent, index)
        self._path.pop()
        return node


class _Reading:
    """One pass over one text."""

    def __init__(self, text: str, where: str, *, shows_positions: bool) -> None:
        self._text, self._where, self._shows_positions = text, where, shows_positions
        self.positions: Positions = {}

    def data(self) -> Any:
        if len(self._text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            raise _too_large(self._where)
        try:
            node = self._compose()
            return None if node is None else self._value(node, ())
        except _Refusal as refusal:
            key = f"key '{dotted(refusal.path)}': " if refusal.path else ""
            place = self._place(refusal.mark)
            raise SettingsError(f"{place}: {key}{refusal.what}") from None

    def _compose(self) -> yaml.Node | None:
        old_break = _OLD_BREAK.search(self._text)
        if old_break:
            self._refuse_character(old_break.start())
        loader = None
        try:
            loader = _StrictLoader(self._text)
            return loader.single_node()
        except yaml.MarkedYAMLError as error:
            self._refuse_syntax(error.problem_mark or error.context_mark, str(error.problem))
        except yaml.reader.ReaderError as error:
            self._refuse_character(error.position)
        except (ValueError, OverflowError):
            # PyYAML lets these escape for a \U escape or a %YAML version that is too large.
            mark = None if loader is None else loader.get_mark()
            self._refuse_syntax(mark, "a number in an escape or directive is out of range")

    def _refuse_character(self, position: int) -> NoReturn:
        line = self._text.count("\n", 0, position)
        column = position - (self._text.rfind("\n", 0, position) + 1)
        mark = yaml.Mark(self._where, position, line, column, None, 0)
        name = f"U+{ord(self._text[position]):04X}"
        raise _Refusal(mark, (), f'character {name}; delete it, or write it as an escape in "…"')

    def _refuse_syntax(self, mark: yaml.Mark | None, problem: str) -> NoReturn:
        if "'\\t'" in problem:
            todo = "indent with spaces"
        elif self._shows_positions:
            todo = "check indentation, brackets and quotes here and on the line before"
        else:
            todo = "put text inside two pairs of quotes: 'KEY=\"VALUE\"'"
        raise _Refusal(mark, (), f"not valid YAML: {one_line(problem)}; {todo}") from None

    def _place(self, mark: yaml.Mark | None) -> str:
        if mark is None or not self._shows_positions:
            return self._where
        return f"{self._where}:{mark.line + 1}:{mark.column + 1}"

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            return [self._placed(item, item, (*path, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and (node.tag == _STR or node.tag in _FORMS):
            return _scalar(node, path)
        tag = shortened(node.tag.replace(_TAG_PREFIX, "!!"))
        raise _Refusal(node.start_mark, path, f"tag {tag} does not fit here; write a plain value")

    def _placed(self, at: yaml.Node, node: yaml.Node, path: KeyPath) -> Any:
        self.positions[path] = (at.start_mark.line + 1, at.start_mark.column + 1)
        return self._value(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _key(key_node, path)
            key_path = (*path, key)
            if key in values:
                first_line = self.positions[key_path][0]
                what = f"set again, first on line {first_line}; delete one of the two"
                if not self._shows_positions:
                    what = "set twice; delete one of the two"
                raise _Refusal(key_node.start_mark, key_path, what)
            values[key] = self._placed(key_node, value_node, key_path)
        return values


def _key(node: yaml.Node, path: KeyPath) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _Refusal(node.start_mark, path, "a key is a list or mapping; write a plain word")
    text = str(node.value)
    if node.style is None and text == "<<":
        what = "merge keys are not read; write the keys out, or use `extends: NAME`"
        raise _Refusal(node.start_mark, (*path, text), what)
    if node.tag != _STR:
        raise _Refusal(node.start_mark, (*path, text), "keys are text; put the key in quotes")
    return str(_scalar(node, path))


def _scalar(node: yaml.ScalarNode, path: KeyPath) -> Any:
    text, tag, mark = str(node.value), node.tag, node.start_mark
    if tag == _STR:
        if any("\ud800" <= character <= "\udfff" for character in text):
            what = "half of a surrogate pair (\\uD800–\\uDFFF); write the character itself"
            raise _Refusal(mark, path, what)
        return text
    if not _FORMS[tag].match(text):
        kind = tag.replace(_TAG_PREFIX, "!!")
        what = f"'{shortened(text)}' does not fit its tag {kind}; delete the tag"
        raise _Refusal(mark, path, what)
    if tag in (_NULL, _BOOL):
        return _WORDS[text.lower()]
    if len(text) > _LONGEST_NUMBER:
        what = f"a number of more than {_LONGEST_NUMBER} digits; put text in quotes"
        raise _Refusal(mark, path, what)
    return _integer(text, mark, path) if tag == _INT else float(_without_dot(text))


def _integer(text: str, mark: yaml.Mark, path: KeyPath) -> int:
    if text[:2] in ("0o", "0x"):
        return int(text, 0)
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits.startswith("0"):
        what = (
            f"{text} has a leading zero, which YAML versions read differently; "
            f"write {int(text)}, or '{text}' in quotes for text"
        )
        raise _Refusal(mark, path, what)
    return int(text)


def _without_dot(text: str) -> str:
    """Turns YAML's `.inf` and `.nan` into Python's; digits keep their dot."""
    return text.replace(".", "") if text[-1] in "fFnN" else text
