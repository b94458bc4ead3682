"""`modeltest chat`: one answer, a dialogue, or one answer per clip."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modeltest.cli.options import (
    add_max_input_length,
    add_model_options,
    non_negative_int,
    positive_int,
)
from modeltest.errors import EXIT_INVALID, EXIT_OK

if TYPE_CHECKING:
    from modeltest.cli.ask import Asker
    from modeltest.protocols import Backend
    from modeltest.records import Prompt
    from modeltest.runner.material import Clip
    from modeltest.settings.schema import TaskSettings

HELP = "ask a model about audio clips: one question, or a dialogue without --text"
# VocalSound's question inside the chat template: what the original scripts ask of a folder.
DEFAULT_TASK = "vocalsound_chat"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("model", metavar="MODEL", help="a model's name or .yaml file")
    parser.add_argument(
        "--audio",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="clips, or folders of clips, all for one question",
    )
    parser.add_argument("--text", help="the question; without it, a dialogue at the prompt")
    parser.add_argument(
        "--each",
        action="store_true",
        help="an answer of its own for each clip; without --text, to VocalSound's question",
    )
    add_max_input_length(parser)
    parser.add_argument(
        "--max-output-length", type=positive_int, default=256, metavar="N", help="longest answer"
    )
    parser.add_argument("--seed", type=non_negative_int, default=0, metavar="N", help="random seed")
    add_model_options(parser)


def execute(options: argparse.Namespace) -> int:
    """Prints the answers: the only one, those of the dialogue, or each clip's."""
    from modeltest.backends.factory import checked_model, make_backend, model_warnings
    from modeltest.cli.ask import Asker
    from modeltest.cli.dialogue import hold_dialogue
    from modeltest.cli.options import load_settings
    from modeltest.devices.factory import choose_for, make_device
    from modeltest.errors import one_line
    from modeltest.records import Prompt

    with_task = argparse.Namespace(**{**vars(options), "task": DEFAULT_TASK})
    model, task = load_settings(with_task)
    model = checked_model(model)
    for warning in model_warnings(model.settings):
        print(f"warning: {one_line(warning)}", file=sys.stderr)
    device = make_device(choose_for(model.settings, options.device))
    backend = make_backend(model.settings, options.seed, device)
    asker = Asker(backend, device, options.max_output_length, options.max_input_length)
    clips_at = partial(_clips, backend, task.settings.long_audio == "truncate")
    clips = clips_at(*options.audio)
    if options.each:
        return _answer_each(clips, _prompt(options.text, task.name, task.settings), asker)
    if options.text is not None:
        return _answer(clips, Prompt(options.text, "chat"), asker)
    with _loaded(asker):
        hold_dialogue(asker, clips, clips_at)
    return EXIT_OK


@contextmanager
def _loaded(asker: Asker) -> Iterator[None]:
    from modeltest.runner.recovery import load

    load(asker.backend, asker.device)
    try:
        yield
    finally:
        asker.backend.close()


def _answer(clips: Sequence[Clip], prompt: Prompt, asker: Asker) -> int:
    from modeltest.cli.dialogue import show_clips

    request = asker.request("the question", [clip.audio for clip in clips], prompt)
    with _loaded(asker):
        show_clips(clips)
        response = asker.ask(request)
    return EXIT_INVALID if response.error else EXIT_OK


def _answer_each(clips: Sequence[Clip], prompt: Prompt, asker: Asker) -> int:
    """Prints `Answer[i]: …` and the tokens so far, or ?, clip by clip."""
    from modeltest.cli.ask import no_split
    from modeltest.errors import one_line
    from modeltest.runner.recovery import generate_surviving

    requests = [asker.request(clip.name, (clip.audio,), prompt) for clip in clips]
    num_failed = 0
    num_tokens: int | None = 0
    with _loaded(asker):
        for index, request in enumerate(requests):
            print(f"Audio[{index}]: {one_line(request.sample_id)}", file=sys.stderr)
            [response] = generate_surviving(asker.backend, asker.device, [request], no_split)
            if response.error:
                num_failed += 1
                print(f"Answer[{index}]: failed: {one_line(response.error)}", file=sys.stderr)
                continue
            num_tokens = _sum(num_tokens, response.output_tokens)
            print(f"Answer[{index}]: {one_line(response.text)}")
            print(f"Generate[{index}] token num: ({index}, {_shown(num_tokens)})", flush=True)
    return EXIT_INVALID if num_failed else EXIT_OK


def _sum(total: int | None, more: int | None) -> int | None:
    """Unknown once a part of it is: not every service counts."""
    return None if total is None or more is None else total + more


def _shown(number: int | None) -> str:
    return "?" if number is None else str(number)


def _clips(backend: Backend, truncate_long: bool, *paths: Path) -> Sequence[Clip]:
    from modeltest.cli.progress import make_progress
    from modeltest.runner.material import decode_clips, sources_at

    sources = [(source, source.name, "") for path in paths for source in sources_at(path)[0]]
    return decode_clips(sources, backend, truncate_long, make_progress("clip"))


def _prompt(text: str | None, name: str, settings: TaskSettings) -> Prompt:
    from modeltest.records import Prompt
    from modeltest.tasks.factory import make_task

    return Prompt(text, "chat") if text is not None else make_task(name, settings).prompt()
