"""The block for a release note: what it says, and that nothing in it can be made to say more."""

import re

import pytest

from modeltest.reports.markdown import accuracy_markdown, as_code, shown
from modeltest.reports.summary import summarise

HOSTILE = [
    "@someone", "a|b", "`x`", "<b>bold</b>", "<!-- hidden", "[click](http://x.example)",
    "![i](http://x.example/i.png)", "**bold**", "_em_", "~~gone~~", "# heading", "#12", "GH-12",
    "owner/name#3", "www.example.org", "http://example.org", "a@example.org", "\\| \\` \\",
    "```", "1. one", ":smile:", "a\nb", "\x1b[31m", "\u202egnp", "&lt;b&gt;", "$x$", "- item",
    "0a1b2c3d4e", "> quote", "$(id)",
]  # fmt: skip


def rendered(text):
    """What is left of a line of Markdown once code is taken out: nothing may be in it."""
    return re.sub(r"<code>[^<>`]*</code>|`[^`]+`", "", text)


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_could_be_markup_is_code(text):
    line = shown(text)
    assert "\n" not in line
    assert rendered(line) == ""
    assert "|" not in line, "a bar ends the cell, in code, too"


@pytest.mark.parametrize(
    "text",
    ["1 of 6 samples failed", "class=打喷嚏", "92.50", "0.00 – 79.35", "modeltest's own source",
     "bs 8 fixed: steady (5 passes)", "e2e ms p50/p90", "846742 (818333–875658)", "100 %"],
)  # fmt: skip
def test_plain_words_stay_plain(text):
    assert shown(text) == text


def test_code_with_a_bar_is_spelled_in_references():
    # CommonMark 2.5: a numeric character reference stands for the character and is never markup.
    assert as_code("a|b`c") == "<code>a&#124;b&#96;c</code>"


def test_long_texts_are_cut():
    assert len(shown("x " * 5000)) < 600


@pytest.fixture
def block(make_run):
    def make(change=lambda _manifest, _samples: None):
        run = make_run(change)
        return accuracy_markdown(run, summarise(run))

    return make


def test_the_verdict_with_its_reasons_is_first(block):
    assert block().splitlines()[:6] == [
        "### t · m",
        "",
        "**INVALID**",
        "",
        "- 1 of 6 samples failed",
        "- 1 of 6 replies unparsed",
    ]


def test_headline_classes_device_versions_and_run(block):
    def forget_speakers(_manifest, samples):
        for sample in samples:
            sample["metadata"] = {}

    text = block(forget_speakers)
    # Wilson's interval of 3 of 6, by hand: 0.1876 to 0.8124.
    assert "**acc: 50.00 %** (95 % interval 18.76–81.24, wilson); 6 of 6 samples, " in text
    # F1 of laughter and cough 2/3 each, of sneeze 1/2; every recall is 1/2.
    assert " macro_f1 61.11 %, balanced_acc 50.00 %." in text
    assert "| class=laughter | 2 | 1 | 50.00 |" in text
    assert "gender=female" not in text
    assert "| device | NPU Ascend 910B4 |" in text
    assert "torch 2.6.0, transformers 4.46.2" in text
    assert "| run | `174503-0a1b2c`, `2025-03-09T17:45:03+08:00` |" in text


def test_the_commit_is_named_with_local_changes(block):
    def dirty(manifest, _samples):
        manifest["tool"].update(commit="0123456789abcdef", dirty=True)

    assert "modeltest `0.1.0` (`0123456789abcdef`) with local changes" in block(dirty).replace(
        "modeltest 0.1.0", "modeltest `0.1.0`"
    )


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/bin/modeltest", "eval", "t", "m", "--limit", "9"], "modeltest eval t m --limit 9"),
        (["x/__main__.py", "eval", "t", "m", "--resume=last"], "modeltest eval t m"),
        (["modeltest", "eval", "a b", "m", "--output-dir", "/o"], "modeltest eval 'a b' m"),
        (["modeltest", "eval", "t\n```\n@all", "m"], "modeltest eval $'t\\n```\\n@all' m"),
    ],
)  # fmt: skip
def test_the_command_that_does_it_again(block, argv, command):
    text = block(lambda manifest, _samples: manifest.update(argv=argv))
    fence = "````" if "```" in command else "```"
    assert text.endswith(f"To reproduce:\n\n{fence}bash\n{command}\n{fence}")


@pytest.mark.parametrize("argv", [None, [], "eval", ["pytest"], ["modeltest", 3], ["x", "perf"]])
def test_no_command_where_none_is_known(block, argv):
    assert "To reproduce" not in block(lambda manifest, _samples: manifest.update(argv=argv))


def test_hostile_names_make_no_markup_and_no_further_cell(block):
    hostile = "a|b `c` <img src=x> @all\n# h"

    def rename(manifest, samples):
        manifest["device"]["name"] = hostile
        manifest["task"]["name"] = manifest["model"]["name"] = hostile
        manifest["labels"] = [f"{label}|<b>@all</b>" for label in manifest["labels"]]
        manifest["data"]["warnings"] = [hostile]
        for sample in samples:
            sample["subsets"][0] += "|<b>@all</b>"
            sample["truth"] += "|<b>@all</b>"
            sample["score"]["answer"] = None

    text = block(rename)
    for raw in ("<img", "<b>", "@all", "\n# h"):
        assert raw not in text
    for line in text.splitlines():
        if line.startswith("| class="):
            raise AssertionError("a hostile label must be code")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} <= {9, 3}
