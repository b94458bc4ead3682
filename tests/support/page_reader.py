"""Reads a page as a browser would, without running its scripts."""

import json
from html.parser import HTMLParser

INVISIBLE = {chr(n) for n in (*range(9), *range(11, 32), *range(0x7F, 0xA0))} | set(
    "\u202e\u2066\u2028"
)
"""Characters that a page must not hold: they steer a terminal, or a reader's eyes."""


class Page(HTMLParser):
    """Tags, attributes, text outside of scripts, and the scripts' contents by id."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.text = [], [], {}, ""
        self._within = None
        self.feed(content.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag in {"script", "style"}:
            self._within = dict(attributes).get("id", tag)

    def handle_endtag(self, tag):
        if tag in {"script", "style"}:
            self._within = None

    def handle_data(self, data):
        if self._within is None:
            self.text += data
        else:
            self.scripts[self._within] = self.scripts.get(self._within, "") + data

    @property
    def samples(self):
        return json.loads(self.scripts["samples"])
