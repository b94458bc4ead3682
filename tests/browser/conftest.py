"""Pages of made-up runs in Debian's Chromium; the clips are the embedded ones."""

import importlib.util
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from modeltest.audio.decode import decode
from modeltest.records import AudioSource
from modeltest.reports.comparison.accuracy import compare_accuracy
from modeltest.reports.comparison.accuracy_files import write_comparison
from modeltest.reports.comparison.sweeps import compare_sweeps
from modeltest.reports.comparison.sweeps_files import write_sweep_comparison
from modeltest.reports.comparison.transcripts import compare_transcripts
from modeltest.reports.comparison.transcripts_files import write_transcript_comparison
from modeltest.reports.html import report_html, with_clips
from modeltest.reports.page.clips import EmbeddedClip
from modeltest.reports.performance.html import performance_html
from modeltest.reports.performance.plots import sweep_plots
from modeltest.reports.performance.summary import summarise_sweep
from modeltest.reports.summary import summarise
from modeltest.runlog.manifest import write_manifest
from modeltest.runlog.run_log import RunContent
from modeltest.runlog.segment import SegmentWriter
from modeltest.runlog.sweep_log import read_sweep

LABELS = ["laughter", "sigh", "cough", "throatclearing", "sneeze", "sniff"]
RATE = 16_000
# One in this many is taken for the next class, is not parsed, fails.
WRONG, UNPARSED, FAILED = 10, 33, 59


def answer_of(number: int) -> tuple[str | None, str]:
    """Answer and error of a sample; its truth is `LABELS[number % 6]`."""
    if number % FAILED == FAILED - 1:
        return None, "RuntimeError: boom"
    if number % UNPARSED == UNPARSED - 1:
        return None, ""
    return LABELS[(number + (number % WRONG == WRONG - 1)) % 6], ""


def sample(number: int, clip: dict[str, Any]) -> dict[str, Any]:
    answer, error = answer_of(number)
    truth, speaker = LABELS[number % 6], f"{'fm'[number % 2]}{number // 6:04d}"
    letter = "ABCDEF"[LABELS.index(answer)] if answer else ""
    score = {"answer": answer, "correct": answer == truth}
    logits = [round(10 + 3 * math.sin(number + option), 4) for option in range(6)]
    gender = ("female", "male")[number % 2]
    text = "" if error else f"{letter}: {answer}" if answer else "It is hard to say"
    return {
        "type": "sample", "index": number, "key": f"key{number}",
        "sample_id": f"{speaker}_{number % 6}_{truth}", "truth": truth,
        "metadata": {"speaker": speaker, "gender": gender},
        "subsets": [f"class={truth}", f"gender={gender}"],
        "clips": [clip],
        "response": {
            "text": text, "input_text": "", "input_tokens": 164, "output_tokens": 4,
            "finish_reason": "stop", "error": error, "option_logits": logits,
            "timing": {"e2e_s": 0.6 + 0.1 * math.sin(number) ** 2},
        },
        "score": {**score, "legacy_answer": answer, "legacy_correct": answer == truth},
    }  # fmt: skip


def manifest(number: int, data: Path, folder: Path) -> dict[str, Any]:
    return {
        "schema_version": 2, "command": "eval", "labels": LABELS, "dp": 1,
        "place": {
            "date": "2025-03-09", "run_id": "174503-0a1b2c", "model": "m", "task": "vocalsound",
            "backend": "transformers", "device_label": "CPU", "dtype": "fp32", "batch_size": 8,
            "tp": 1,
        },
        "task": {
            "name": "vocalsound", "overrides": [],
            "settings": {
                "version": "1", "metrics": ["acc", "acc_legacy"], "slices": {"by": ["gender"]},
            },
        },
        "model": {"name": "m", "overrides": [], "settings": {"attention": "sdpa"}},
        "prompt": {"rendered": "<|AUDIO|>In this audio, what kind of sound can you hear?"},
        "identity_sha256": "",
        "data": {
            "num_samples": number, "num_available": number, "warnings": [], "sha256": "",
            "folder": str(data), "folder_from_report": os.path.relpath(data, folder),
            "layout": "folder",
        },
        "device": {"kind": "cpu", "name": "EPYC"},
        "started": "2025-03-09T17:45:03+08:00",
        "packages": {"torch": "2.6.0", "transformers": "4.46.2"},
        "tool": {"version": "0.1.0", "commit": None, "dirty": None},
        "working_directory": "/",
    }  # fmt: skip


@pytest.fixture(scope="session")
def data_folder(mini_clips, tmp_path_factory) -> Path:
    """Six of the embedded clips in a folder whose name a link has to encode."""
    folder = tmp_path_factory.mktemp("data") / "a b#1%20 声"
    folder.mkdir()
    for clip in mini_clips[:6]:
        shutil.copy(clip, folder)
    return folder


@pytest.fixture(scope="session")
def clips(data_folder) -> list[dict[str, Any]]:
    """Log records of the clips."""
    found = []
    for path in sorted(data_folder.iterdir()):
        audio = decode(AudioSource(path.name, path=path), RATE)
        found.append(
            {
                "name": path.name, "sha256": audio.sha256, "container": "FLAC/PCM_16",
                "duration_s": audio.source_duration_s, "heard_s": audio.duration_s, "note": "",
                "envelope": audio.envelope,
            }
        )  # fmt: skip
    return found


Change = Callable[[dict[str, Any], list[dict[str, Any]]], None]


@pytest.fixture(scope="session")
def write_page(tmp_path_factory, data_folder, clips) -> Callable[..., Path]:
    """Writes the page of a run of so many samples, after `change(manifest, samples)`."""

    def write(
        number: int = 60,
        change: Change = lambda _manifest, _samples: None,
        language: Any = None,
        embed: bool = False,
    ) -> Path:
        folder = tmp_path_factory.mktemp("run")
        facts = manifest(number, data_folder, folder)
        samples = [sample(place, clips[place % len(clips)]) for place in range(number)]
        change(facts, samples)
        phases = ({"type": "phase", "name": "eval", "seconds": 9.0, "num_samples": number},)
        run = RunContent(folder, facts, tuple(samples), phases)
        content = report_html(run, summarise(run), language, clips_are_embedded=embed)
        if embed:
            held = [
                EmbeddedClip(clip["sha256"], clip["container"], path.read_bytes())
                for clip, path in zip(clips, sorted(data_folder.iterdir()), strict=True)
            ]
            content = b"".join(with_clips(content, held))
        path = folder / "report.html"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture(scope="session")
def report(write_page) -> Path:
    """The page of sixty samples."""
    return write_page()


@pytest.fixture(scope="session")
def long_report(write_page) -> Path:
    """The page of as many samples as VocalSound's test split has."""
    return write_page(3600)


@pytest.fixture(scope="session")
def write_comparison_page(tmp_path_factory, data_folder, clips) -> Callable[..., Path]:
    """Writes the page of two runs of so many samples.

    B differs by `change(manifest, samples)`; `prepare` alters both before.
    """

    def write(
        change: Change,
        number: int = 60,
        prepare: Change = lambda _manifest, _samples: None,
        language: Any = None,
    ) -> Path:
        output_dir = tmp_path_factory.mktemp("out")
        runs = []
        for name, run_change in (("a", lambda _manifest, _samples: None), ("b", change)):
            folder = output_dir / "day" / name
            facts = manifest(number, data_folder, folder)
            samples = [sample(place, clips[place % len(clips)]) for place in range(number)]
            prepare(facts, samples)
            facts["place"]["run_id"] = {"a": "174503-0a1b2c", "b": "181200-ffffff"}[name]
            run_change(facts, samples)
            run = RunContent(folder, facts, tuple(samples))
            folder.mkdir(parents=True)
            (folder / "report.html").write_bytes(report_html(run, summarise(run)))
            runs.append(run)
        comparison = compare_accuracy(*((run, summarise(run)) for run in runs), 0.01)
        return write_comparison(comparison, tuple(runs), output_dir, language)["page"]

    return write


def say(record: dict[str, Any], label: str) -> None:
    """Makes a sample's reply name another label."""
    record["response"]["text"] = f"{'ABCDEF'[LABELS.index(label)]}: {label}"
    record["score"].update(answer=label, correct=label == record["truth"])


def change_four(facts: dict[str, Any], samples: list[dict[str, Any]]) -> None:
    """Two regressions, an improvement, another wrong answer; on another device."""
    say(samples[0], "sneeze")
    say(samples[7], "cough")
    say(samples[9], "throatclearing")  # A: sneeze
    say(samples[19], "laughter")  # a sigh; A: cough
    facts["device"]["name"] = "Ascend 910B4"
    facts["place"]["dtype"] = "bf16"


@pytest.fixture(scope="session")
def comparison_page(write_comparison_page) -> Path:
    """The page of two runs of sixty samples."""
    return write_comparison_page(change_four)


@pytest.fixture(scope="session")
def long_comparison_page(write_comparison_page) -> Path:
    """The page of two runs of which 3,600 samples say something else."""

    def change(_facts: dict[str, Any], samples: list[dict[str, Any]]) -> None:
        for record in samples:
            record["response"]["error"] = ""
            say(record, LABELS[(record["index"] + 3) % 6])

    return write_comparison_page(change, 3600)


@pytest.fixture(scope="session")
def transcripts_page(tmp_path_factory, data_folder, clips) -> Path:
    """The page of two runs of a transcription task: two of twelve replies are apart, one failed."""
    output_dir = tmp_path_factory.mktemp("out")
    runs = []
    for name, changed in (("a", {}), ("b", {2: "they cough twice", 5: "they sneeze five times"})):
        folder = output_dir / "day" / name
        facts = manifest(12, data_folder, folder)
        facts["labels"] = []
        facts["task"]["settings"] = {
            "kind": "transcription", "version": "1", "prompt_format": "chat",
            "metrics": ["wer", "exact_match", "answered_rate"], "slices": {"by": ["gender"]},
        }  # fmt: skip
        samples = [sample(place, clips[place % len(clips)]) for place in range(12)]
        for record in samples:
            words = f"they {record['truth']} once"
            said = changed.get(record["index"], words)
            failed = name == "b" and record["index"] == 7
            record.update(truth=words, subsets=record["subsets"][1:])
            record["response"].update(text="" if failed else said, error="boom" if failed else "")
            record["response"]["option_logits"] = []
            record["score"].update(answer=said, correct=said == words)
        runs.append(RunContent(folder, facts, tuple(samples)))
    comparison = compare_transcripts(*((run, summarise(run)) for run in runs))
    return write_transcript_comparison(comparison, tuple(runs), output_dir)["page"]


@pytest.fixture(scope="session")
def sweep_by_hand(project, tmp_path_factory) -> Callable[..., Any]:
    """Reads back the sweep that the unit tests have written down by hand, so much slower."""
    source = project / "tests" / "unit" / "reports" / "performance" / "conftest.py"
    spec = importlib.util.spec_from_file_location("sweep_by_hand", source)
    by_hand = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(by_hand)

    def make(factor: float = 1.0) -> Any:
        facts, logged = by_hand.manifest(), by_hand.records()
        for record in logged:
            for batch in record["batches"] if record["type"] == "round" else ():
                for name in ("e2e_s", "feature_s", "encoder_s", "prefill_s", "ttft_s"):
                    batch[name] *= factor
                batch["step_s"] = [factor * step for step in batch["step_s"]]
        place = facts["place"]
        parts = (place["date"], "modeltest", place["model"], "performance_result", place["run_id"])
        folder = tmp_path_factory.mktemp("out").joinpath(*parts)
        write_manifest(folder, facts)
        with SegmentWriter(folder / "log" / "host-0-1.jsonl") as segment:
            for record in logged:
                segment.append(record)
        return read_sweep(folder)

    return make


@pytest.fixture(scope="session")
def sweep_report(sweep_by_hand) -> Path:
    """The page of the sweep."""
    content = sweep_by_hand()
    summary = summarise_sweep(content)
    path = content.folder / "report.html"
    path.write_bytes(performance_html(content, summary, sweep_plots(content, summary)))
    return path


@pytest.fixture(scope="session")
def sweep_comparison_page(sweep_by_hand, tmp_path_factory) -> Path:
    """The page of two sweeps, the second one slower."""
    pair = [(sweep, summarise_sweep(sweep)) for sweep in (sweep_by_hand(), sweep_by_hand(1.06))]
    comparison = compare_sweeps(*pair, 0.05)
    paths = write_sweep_comparison(comparison, tuple(pair), tmp_path_factory.mktemp("out"))
    return paths["page"]


@pytest.fixture(scope="module")  # it leaves an event loop running, which other tests must not meet
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium")
    if not found:
        pytest.fail("chromium is missing; install it (Debian: apt-get install chromium)")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    arguments.append("--autoplay-policy=no-user-gesture-required")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=arguments)
        yield started
        started.close()


class Opened:
    """A page in a window of its own, and what it asked for and complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))

    @property
    def count(self) -> str:
        return self.page.locator("#count").inner_text()

    @property
    def num_rows(self) -> int:
        """Rows that there are to scroll to."""
        return int(self.page.locator("#sample-table").get_attribute("aria-rowcount")) - 1


@pytest.fixture
def opened(browser) -> Iterator[Callable[..., Opened]]:
    """Opens a file in a window; what a window's page complains about fails the test."""
    all_opened = []

    def open_file(path: Path, **window: Any) -> Opened:
        size = window.pop("size", (1200, 900))
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, locale=window.pop("locale", "en-US"),
            **window,
        )  # fmt: skip
        made = Opened(context.new_page())
        all_opened.append(made)
        made.page.set_default_timeout(20_000)
        made.page.goto(path.as_uri())
        return made

    yield open_file
    for made in all_opened:
        made.page.context.close()
    assert [made.complaints for made in all_opened if made.complaints] == []
