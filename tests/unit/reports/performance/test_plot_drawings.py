"""Plots inside the page: words of both languages, colours of both grounds, inert markup."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import modeltest.reports
from modeltest.reports.page.texts import all_texts, make_texts
from modeltest.reports.performance.html import performance_html
from modeltest.reports.performance.palette import VARIABLES
from modeltest.reports.performance.plot_words import Phrase, PlotWords
from modeltest.reports.performance.plots import sweep_plots
from modeltest.reports.performance.summary import summarise_sweep
from modeltest.reports.performance.svg import drawing

CSS = (Path(modeltest.reports.__file__).parent / "page" / "page.css").read_text(encoding="utf-8")
LIGHT_ONLY = re.search(r"^:root \{(.*?)\}", CSS, re.MULTILINE | re.DOTALL)[1]
TERMS = {
    "fixed", "natural", "feature", "encoder", "prefill", "decode", "detokenize",
    "m · EPYC · bf16 · fast",
}  # fmt: skip


class Drawn(HTMLParser):
    """Elements and texts inside the page's plots."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.plots: list[list[tuple[str, dict[str, str]]]] = []
        self.labels: list[dict[str, str]] = []
        self.texts: list[tuple[dict[str, str], str]] = []
        self.is_inside = False
        self.feed(content.decode("utf-8"))

    def handle_starttag(self, tag, attributes):
        if tag == "svg":
            self.is_inside = True
            self.labels.append(dict(attributes))
            self.plots.append([])
        elif self.is_inside:
            self.plots[-1].append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        self.is_inside &= tag != "svg"

    def handle_data(self, data):
        if self.is_inside and data.strip():
            self.texts.append((self.plots[-1][-1][1], data))

    @property
    def elements(self):
        return [element for plot in self.plots for element in plot]


@pytest.fixture
def page(make_sweep, rounds_of):
    """The page in a language, after `change`; one of its points is not valid."""

    def make(language=None, change=lambda _manifest, _logged: None) -> bytes:
        def load(facts, logged):
            for record in rounds_of(logged, 2):
                record["other_load"] = 0.5
            change(facts, logged)

        content = make_sweep(load)
        summary = summarise_sweep(content)
        return performance_html(content, summary, sweep_plots(content, summary), language)

    return make


def test_the_policy_of_the_page_forbids_nothing_in_the_plots(page):
    drawn = Drawn(page())
    assert len(drawn.plots) == 4
    assert min(map(len, drawn.plots)) > 20
    allowed = {"path", "use", "text", "g", "defs", "clippath", "rect"}
    assert {tag for tag, _ in drawn.elements} <= allowed
    for _, attributes in drawn.elements:
        assert "style" not in attributes
        assert not any(name.startswith(("on", "xlink", "xmlns")) for name in attributes)


def test_ids_are_unique_and_references_stay_in_their_plot(page):
    plots = Drawn(page()).plots
    ids = [[a["id"] for _, a in plot if "id" in a] for plot in plots]
    every = [name for own in ids for name in own]
    assert len(set(every)) == len(every) > 4
    for plot, own in zip(plots, ids, strict=True):
        linked = {a["href"].removeprefix("#") for tag, a in plot if tag == "use"}
        clipped = {a["clip-path"][5:-1] for _, a in plot if "clip-path" in a}
        assert linked | clipped == set(own)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_words_are_texts_of_the_page_and_the_rest_are_figures_and_terms(page, language):
    drawn = Drawn(page(language))
    texts = all_texts()
    titles = [texts[language][f"perf.plot.{n}"] for n in ("throughput", "latency", "stages")]
    assert [data for _, data in drawn.texts if data in titles] == titles
    for attributes, data in drawn.texts:
        if "data-t" in attributes:
            key = attributes["data-t"]
            start, end = re.fullmatch(r"([^{]*)(?:\{\w+\})?(.*)", texts[language][key]).groups()
            assert data.startswith(start)
            assert data.endswith(end)
            assert ("{" in texts["en"][key]) == ("data-v" in attributes)
        else:
            assert data in TERMS or re.fullmatch(r"(bs )?[\d.]+", data), data


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_plot_has_a_label_in_the_language(page, language):
    labels = Drawn(page(language)).labels
    assert [label["data-l"] for label in labels] == [
        "perf.alt.throughput", "perf.alt.latency", "perf.alt.stages", "perf.alt.roofline"
    ]  # fmt: skip
    assert all(label["role"] == "img" for label in labels)
    # 8 tokens in 0.12 s, 2 * 8 in 0.14 s.
    assert "1 fixed: 66.7; 2 fixed: 114;" in labels[0]["aria-label"]
    assert all(("：" in label["aria-label"]) == (language == "zh") for label in labels)


def test_every_colour_is_one_of_the_page(page):
    found = set()
    for _, attributes in Drawn(page()).elements:
        found |= {attributes[name] for name in ("fill", "stroke") if name in attributes}
    assert found == {"none"} | {f"var({name}, {colour})" for colour, name in VARIABLES.items()}


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def dark(name: str) -> str:
    """The colour of both of the rules for dark pages: of the system, and chosen."""
    colours = set(
        re.findall(rf"{name}: (#\w{{6}});", CSS.replace(LIGHT_ONLY, "").split("print")[0])
    )
    assert len(colours) == 1, name
    return colours.pop()


def test_light_colours_are_those_of_the_style_sheet():
    for colour, name in VARIABLES.items():
        assert name.startswith("--plot-") or f"{name}: {colour};" in LIGHT_ONLY


def test_lines_and_words_can_be_told_from_both_grounds():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for colour, name in VARIABLES.items():
        if name not in {"--line", "--page"}:
            least = 3.0 if name.startswith("--plot-") else 4.5  # WCAG 1.4.11, 1.4.3
            assert contrast(colour, "#ffffff") >= least, name
            assert contrast(dark(name), dark("--page")) >= least, name


SVG = b"""<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"
 xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">
 <metadata>machine</metadata><defs><style>*{stroke: red}</style></defs>
 <g id="text_1"><!-- said --><text style="font: 700 13px 'A', sans-serif; text-anchor: end"
  transform="rotate(-0 1 2)" x="1.23456" y="2">said</text></g>
 <g id="kept"><text style="font-size: 9px; font-family: A">&lt;b&gt;</text></g>
 <use xlink:href="#kept" style="fill: #ffffff; stroke-width: 0.8"/></svg>"""


def test_what_is_left_of_a_file():
    left = drawing(SVG, {"said": Phrase("perf.plot.e2e", {"mode": "m<"})}, make_texts("zh"))
    assert left.view_box == "0 0 9 9"
    assert left.markup == (
        '<text font-size="13px" font-weight="700" text-anchor="end" x="1.23" y="2" '
        'data-t="perf.plot.e2e" data-v="{&quot;mode&quot;: &quot;m&lt;&quot;}">'
        "m&lt;：整个回复 (e2e)</text>"
        '<g id="kept"><text font-size="9px">&lt;b&gt;</text></g>'
        '<use href="#kept" fill="var(--page, #ffffff)" stroke-width="0.8" />'
    )


def test_words_are_drawn_in_english_and_remembered():
    say = PlotWords(make_texts("en"))
    assert say("perf.plot.useful_rate", unit="TFLOP/s") == "useful TFLOP/s"
    assert say.phrases["useful TFLOP/s"] == Phrase("perf.plot.useful_rate", {"unit": "TFLOP/s"})


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$\\frac{1}{0}$", "a\0\x1b]b", "声"])
def test_a_name_from_outside_is_drawn_as_text(page, name):
    drawn = Drawn(page(change=lambda facts, _: facts["device"].update(name=name)))
    assert len(drawn.plots) == 4
    assert "script" not in {tag for tag, _ in drawn.elements}
    ascii_name = {"声": r"\u58f0", "a\0\x1b]b": "a??]b"}.get(name, name)
    subtitles = [data for _, data in drawn.texts if " · " in data]
    assert subtitles == [f"m · {ascii_name} · bf16 · fast"] * 4


def test_the_page_of_a_long_sweep_is_small(page):
    def extend(facts, logged):
        facts["sweep"]["batch_sizes"] = sizes = [1, 2, 4, *range(5, 34)]
        for record in [r for r in logged if r.get("batch_size") == 4]:
            logged += [{**record, "batch_size": size} for size in sizes[3:]]

    content = page(change=extend)
    assert content.count(b"33 natural") >= 2
    assert len(content) < 600_000
