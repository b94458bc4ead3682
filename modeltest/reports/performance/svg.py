"""A plot inside a page: its words follow the page's language, its colours the page's.

What is left of matplotlib's file has no style sheet and no style attribute, which the page's
policy forbids, and no id that nothing refers to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from modeltest.reports.page.texts import Texts
from modeltest.reports.performance.palette import VARIABLES
from modeltest.reports.performance.plot_words import Phrase

_LEFT_OUT = {"metadata", "style"}
_GROUPS = {"g", "defs"}
_OWN_FONT = {"font", "font-family", "font-stretch"}
_PLACES = {"d", "x", "y", "width", "height", "transform"}
_REFERENCE = re.compile(r"(?:url\()?#([\w-]+)\)?")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_SHORTHAND = re.compile(r"(?:(\d{3}) )?([\d.]+px) ")

Words = Callable[[str], tuple[str, dict[str, str]]]


@dataclass(frozen=True, slots=True)
class Drawing:
    """The inside of an `svg` element.

    Attributes:
        view_box: Its attribute `viewBox`.
        markup: Its elements, escaped.
    """

    view_box: str
    markup: str


def drawing(svg: bytes, phrases: Mapping[str, Phrase], texts: Texts) -> Drawing:
    """Makes matplotlib's SVG fit for a page.

    Args:
        svg: The file, its text as text; its ids are those of no other plot of the page.
        phrases: By the words in the file, the texts that they are; other words stay.
        texts: The page's.
    """
    root = ElementTree.fromstring(svg)
    values = (value for element in root.iter() for value in element.attrib.values())
    referenced = {found[1] for value in values if (found := _REFERENCE.fullmatch(value))}

    def words(drawn: str) -> tuple[str, dict[str, str]]:
        phrase = phrases.get(drawn)
        if phrase is None:
            return drawn, {}
        marks = {"data-t": phrase.key}
        if phrase.values:
            marks["data-v"] = json.dumps(phrase.values)
        return texts.word(phrase.key, **phrase.values), marks

    parts = [part for child in root for part in _parts(child, referenced, words)]
    markup = "".join(ElementTree.tostring(part, encoding="unicode") for part in parts)
    return Drawing(root.attrib["viewBox"], markup)


def _parts(
    source: ElementTree.Element, referenced: set[str], words: Words
) -> Iterator[ElementTree.Element]:
    """What a page needs of an element: nothing, the element, or what it groups."""
    tag = _local(source.tag)
    if tag in _LEFT_OUT:
        return
    made = ElementTree.Element(tag, dict(_attributes(source, referenced)))
    if tag == "text":
        made.text, marks = words(source.text or "")
        made.attrib.update(marks)
    children = [part for child in source for part in _parts(child, referenced, words)]
    if tag == "g" and not made.attrib:
        yield from children
    elif children or tag not in _GROUPS:
        made.extend(children)
        yield made


def _attributes(source: ElementTree.Element, referenced: set[str]) -> Iterator[tuple[str, str]]:
    for full_name, value in source.items():
        name = _local(full_name)
        if name == "style":
            yield from _presentation(value)
        elif name in _PLACES:
            short = _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.2f}", value)
            if not short.startswith("rotate(-0 "):
                yield name, short
        elif name != "id" or value in referenced:
            yield name, value


def _presentation(style: str) -> Iterator[tuple[str, str]]:
    """The declarations of a style attribute as attributes; fonts are the page's, not sizes."""
    for declaration in style.split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font" and (found := _SHORTHAND.match(value)):  # before matplotlib 3.9
            yield "font-size", found[2]
            if found[1]:
                yield "font-weight", found[1]
        elif name and name not in _OWN_FONT:
            colour = VARIABLES.get(value)
            yield name, f"var({colour}, {value})" if colour else value


def _local(name: str) -> str:
    """A name without its namespace; in a page the place says which it is."""
    return name.rpartition("}")[2]
