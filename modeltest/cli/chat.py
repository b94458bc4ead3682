"""`modeltest chat`: one answer per clip."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
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
    from modeltest.protocols import Backend, Device
    from modeltest.records import Prompt
    from modeltest.runner.material import Clip
    from modeltest.settings.schema import TaskSettings

HELP = "ask a model about audio clips, one answer each"
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
        help="clips, or folders of clips; each gets an answer of its own",
    )
    parser.add_argument("--text", help="the question (default: VocalSound's)")
    add_max_input_length(parser)
    parser.add_argument(
        "--max-output-length", type=positive_int, default=256, metavar="N", help="longest answer"
    )
    parser.add_argument("--seed", type=non_negative_int, default=0, metavar="N", help="random seed")
    add_model_options(parser)


def execute(options: argparse.Namespace) -> int:
    """Prints `Answer[i]: …` and the tokens so far, clip by clip."""
    from modeltest.backends.factory import check_model, make_backend
    from modeltest.cli.options import load_settings
    from modeltest.devices.factory import choose, make_device
    from modeltest.runner.material import refuse_long_inputs
    from modeltest.runner.recovery import load

    with_task = argparse.Namespace(**{**vars(options), "task": DEFAULT_TASK})
    model, task = load_settings(with_task)
    check_model(model.settings, model.where("model_path"))
    device = make_device(choose(options.device))
    backend = make_backend(model.settings, options.seed, device)
    clips = _clips(options.audio, backend, task.settings.long_audio == "truncate")
    prompt = _prompt(options.text, task.name, task.settings)
    if options.max_input_length is not None:
        refuse_long_inputs(clips, prompt, backend, options.max_input_length)
    load(backend, device)
    try:
        return _answer_all(clips, prompt, options, backend, device)
    finally:
        backend.close()


def _answer_all(
    clips: Sequence[Clip],
    prompt: Prompt,
    options: argparse.Namespace,
    backend: Backend,
    device: Device,
) -> int:
    from modeltest.errors import one_line
    from modeltest.records import Generation, Request
    from modeltest.runner.recovery import generate_surviving

    generation = Generation(options.max_output_length)
    num_tokens = num_failed = 0
    for index, clip in enumerate(clips):
        print(f"Audio[{index}]: {one_line(clip.name)}", file=sys.stderr)
        request = Request(clip.name, (clip.audio,), prompt, generation)
        [response] = generate_surviving(backend, device, [request], _no_split)
        if response.error:
            num_failed += 1
            print(f"Answer[{index}]: failed: {one_line(response.error)}", file=sys.stderr)
            continue
        num_tokens += response.output_tokens or 0
        print(f"Answer[{index}]: {one_line(response.text)}")
        print(f"Generate[{index}] token num: ({index}, {num_tokens})", flush=True)
    return EXIT_INVALID if num_failed else EXIT_OK


def _no_split(_size: int, _reason: str) -> None:
    """A single request cannot be split."""


def _clips(paths: list[Path], backend: Backend, truncate_long: bool) -> Sequence[Clip]:
    from modeltest.cli.progress import make_progress
    from modeltest.runner.material import decode_clips, sources_at

    sources = [(source, source.name, "") for path in paths for source in sources_at(path)[0]]
    return decode_clips(sources, backend, truncate_long, make_progress("clip"))


def _prompt(text: str | None, name: str, settings: TaskSettings) -> Prompt:
    from modeltest.records import Prompt
    from modeltest.tasks.factory import make_task

    return Prompt(text, "chat") if text is not None else make_task(name, settings).prompt()
