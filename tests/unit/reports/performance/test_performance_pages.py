"""The console table, the plots and the page: what they show, and that they can be rebuilt."""

import re
from html.parser import HTMLParser

import matplotlib as mpl
import pytest

from modeltest.errors import DataError
from modeltest.reports.performance.console import sweep_text
from modeltest.reports.performance.files import write_performance_reports
from modeltest.reports.performance.summary import summarise_sweep
from modeltest.reports.performance.wording import short
from modeltest.runlog.sweep_log import SweepContent, read_sweep

PNG = b"\x89PNG\r\n\x1a\n"
FILES = {
    "benchmark.csv", "m_performance.csv", "throughput.png", "latency.png", "stages.png",
    "roofline.png", "report.html",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_colours(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")


def written(content: SweepContent) -> dict[str, bytes]:
    paths = write_performance_reports(content, summarise_sweep(content))
    return {path.name: path.read_bytes() for path in paths.values()}


def make_odd(_, logged, rounds_of):
    """A point without memory and one on a loaded machine."""
    for record in rounds_of(logged, 2):
        record["other_load"] = 0.5
    failure = {"type": "point_failure", "batch_size": 4, "mode": "fixed"}
    logged.append({**failure, "reason": "out of memory"})


def test_the_table(sweep):
    lines = sweep_text(summarise_sweep(sweep)).split("\n")
    assert lines[0] == "VALID"
    assert lines[5].split() == [
        "1", "fixed", "yes", "66.7", *re.findall(r"\S+", lines[5])[4:5], "8.33", "36.0", "12.0",
        "120/-", "1.00", "60/11",
    ]  # fmt: skip
    assert re.fullmatch(r"\(66\.\d–66\.\d\)", lines[5].split()[4])


@pytest.mark.parametrize("factor", [0.01, 1, 100])
def test_the_table_fits_80_columns(make_sweep, factor):
    def change(_, logged):
        for record in logged:
            for batch in record.get("batches", ()):
                for name, value in batch.items():
                    if name.endswith("_s") and name != "audio_s":
                        batch[name] = (
                            [factor * s for s in value] if name == "step_s" else factor * value
                        )

    lines = sweep_text(summarise_sweep(make_sweep(change))).split("\n")
    blank = [number for number, line in enumerate(lines) if not line]
    assert max(map(len, lines[blank[0] : blank[1]])) <= 80


def test_a_failed_point_has_dashes_and_the_verdict_says_why(make_sweep, rounds_of):
    content = make_sweep(lambda manifest, logged: make_odd(manifest, logged, rounds_of))
    text = sweep_text(summarise_sweep(content))
    assert text.startswith("INVALID: ")
    assert "bs 4 fixed: out of memory" in text.split("\n")[0]
    assert re.search(r"^ 4 fixed   NO +-( +-){6}$", text, re.MULTILINE)
    assert "bs 4 fixed: decode" not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"),
     (12345.6, "12346"), (0.0000123, "0.00001"), (-2.5, "-2.50")],
)  # fmt: skip
def test_numbers_have_three_digits_and_no_exponent(value, shown):
    assert short(value) == shown


def test_all_files_of_the_contract_are_written(sweep):
    files = written(sweep)
    assert set(files) == FILES
    for name, content in files.items():
        if name.endswith(".png"):
            assert content.startswith(PNG)
            assert b"tEXt" not in content, "a date or a version would change with the machine"
            assert b"tIME" not in content


def test_rebuilding_gives_the_same_bytes(make_sweep, rounds_of):
    content = make_sweep(lambda manifest, logged: make_odd(manifest, logged, rounds_of))
    first = written(content)
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 30, "figure.facecolor": "red"}):
        assert written(read_sweep(content.folder)) == first
        assert mpl.rcParams["font.size"] == 30


def test_a_sweep_without_a_measurement_has_a_page_and_no_plot(make_sweep):
    files = written(make_sweep(lambda _, logged: logged.clear()))
    assert set(files) == {"benchmark.csv", "m_performance.csv", "report.html"}
    assert b"INCOMPLETE" in files["report.html"]


def test_a_moved_run_is_refused(make_sweep, tmp_path):
    content = make_sweep()
    content.folder.parent.rename(tmp_path / "elsewhere")
    moved = read_sweep(tmp_path / "elsewhere" / content.folder.name)
    with pytest.raises(DataError, match="belongs to"):
        write_performance_reports(moved, summarise_sweep(moved))


class Page(HTMLParser):
    """Balanced tags, rows of tables, addresses of whatever is fetched."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(content.decode("utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in {"meta", "img", "br", "input", "path", "circle", "rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def test_the_page_fetches_nothing_and_its_pictures_have_words(sweep):
    text = written(sweep)["report.html"]
    page = Page(text)
    plots = [attributes for tag, attributes in page.tags if attributes.get("role") == "img"]
    assert [tag for tag, attributes in page.tags if attributes.get("role") == "img"] == ["svg"] * 4
    assert all(len(plot["aria-label"]) > 60 for plot in plots)
    assert "1 fixed: 66.7;" in plots[0]["aria-label"]  # 8 tokens in 0.12 s
    assert "4 natural: 144." in plots[1]["aria-label"]  # 0.8 (100 + 4 * 20) ms
    assert not any(tag == "img" for tag, _ in page.tags)
    assert not any(tag in {"link", "iframe"} for tag, _ in page.tags)
    assert not any("src" in attributes for tag, attributes in page.tags if tag == "script")
    assert b"25.0 %, 0.0 %" in text  # padding waste
    assert b"&#34;run_id&#34;: &#34;174503-0a1b2c&#34;" in text  # the manifest


def test_the_page_says_what_is_not_valid_and_why(make_sweep, rounds_of):
    content = make_sweep(lambda manifest, logged: make_odd(manifest, logged, rounds_of))
    text = written(content)["report.html"].decode()
    Page(text.encode())
    banner = text[text.index('<div class="verdict INVALID">') : text.index("</header>")]
    assert "bs 2 fixed: other processes used 50 % of the machine" in banner
    assert "bs 4 fixed: out of memory" in banner
    assert text.count('<tr class="invalid">') == 5  # results 2, stages 1, validity 2
    assert ">Crossed out in the plots, not valid: 2 fixed.</span>" in text
    assert "limit 20 %" in text
    assert "coefficient of variation between passes and drift" in text


def test_an_invalid_point_looks_different(make_sweep, rounds_of):
    def load(_, logged):
        for record in rounds_of(logged, 2):
            record["other_load"] = 0.5

    sound, loaded = written(make_sweep()), written(make_sweep(load))
    for name in FILES:
        if name.endswith(".png"):
            assert sound[name] != loaded[name], name
