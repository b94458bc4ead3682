"""`--tp N`: one process per rank, started, watched and ended together.

Rank 0 runs the command as if it were alone; the others compute along and say nothing. The
variables by which they find each other are torchrun's, which may start them as well:
`torchrun --nproc-per-node N -m modeltest eval … --tp N`. It is not what starts them here: it
shows a traceback of its own for every exit code but 0, whatever that was, and when it is
killed, the ranks run on.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from modeltest.cli.resume_command import resumable, resume_command
from modeltest.cli.signals import Interrupted, last_words
from modeltest.errors import (
    EXIT_DEVICE,
    EXIT_INCOMPLETE,
    EXIT_OK,
    EXIT_USAGE,
    DataError,
    DeviceError,
    UsageError,
    one_line,
)

if TYPE_CHECKING:
    from modeltest.devices.factory import Choice
    from modeltest.protocols import Device
    from modeltest.settings.schema import ModelSettings

SIZES = (1, 2, 4, 8)
AUTO = "auto"
DEFAULT_PORT = 20050

_PIPE_VARIABLE = "MODELTEST_RANK_PIPE"
_CHOICE_VARIABLE = "MODELTEST_CHOSEN_DEVICE"
_POLL_S = 0.1
# How long rank 0 may take to notice by itself that another one ended.
_PATIENCE_S = 15.0
_EXIT_S = 5.0
_MAX_MESSAGES_BYTES = 1 << 16
_NAME = "modeltest: "

# Without the working directory, where anything may be named `json`; then as this process.
_CODE = """\
import sys
sys.path = [path for path in sys.path if path]
import json
sys.path[:], sys.argv[:] = json.loads(sys.argv[1])
from modeltest.cli.main import console
console()
"""


def other_role(options: argparse.Namespace) -> int | None:
    """What this process does of a command with `--tp`, if not what it does without.

    Returns:
        The exit code of the process that starts the ranks, or of a rank above 0; None for
        rank 0 and wherever one process does it all.

    Raises:
        ModeltestError: The ranks cannot be started, or this one cannot compute along.
    """
    several_models = (options.dp or 1) > 1 or options.ray
    if options.tp is None:
        options.tp = 1 if several_models else _size_as_begun(options)
    if options.tp == 1:
        return None
    if several_models:
        raise UsageError(
            "--tp splits one model, --dp and --ray run several whole ones; leave one of them out"
        )
    settings = _checked_model(options)
    if settings.is_service:  # has its own ranks; another number is refused later
        options.tp = 1 if options.tp == AUTO else options.tp
        return None
    if options.tp == AUTO:
        options.tp = _own_size(options, settings)
    if options.tp == 1 or options.dry_run:
        return None
    rank = os.environ.get("RANK")
    if rank is None:
        return _run_ranks(options.tp)
    if os.environ.get("WORLD_SIZE") != str(options.tp):
        raise UsageError(
            f"--tp {options.tp}, but RANK={rank} and WORLD_SIZE={os.environ.get('WORLD_SIZE')} in "
            f"the environment; start {options.tp} ranks, or unset RANK to let modeltest do so"
        )
    if _PIPE_VARIABLE in os.environ:
        threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    return None if rank == "0" else _follow(options, settings)


def number_or_auto(text: str) -> int | str:
    """The value of `--tp`, for argparse."""
    return text if text == AUTO else int(text)


def own_device(options: argparse.Namespace) -> tuple[Choice, Device]:
    """What this process computes on; rank 0 chooses the kind for all ranks.

    Raises:
        DeviceError: It cannot be had, or there are too few for the ranks.
        UsageError: The environment's variables contradict themselves, or the device cannot
            work with others.
    """
    from modeltest.devices.factory import choose, make_device

    rank = os.environ.get("RANK") if options.tp > 1 and not options.dry_run else None
    if rank not in {None, "0"}:
        choice = _choice_of_rank_0(options.tp)
        return choice, make_device(choice, device_index())
    choice = _handed_down() or choose(options.device)
    device = make_device(choice, device_index())
    refuse_too_many_ranks(options.tp, choice, device)
    if rank:
        from modeltest.backends.transformers.tensor_parallel import share_kind

        share_kind(options.tp, choice.kind)
    return choice, device


def device_index() -> int:
    """The device of this process among the visible ones: a rank's own, else the first.

    Raises:
        UsageError: The environment names a rank without a number.
    """
    text = os.environ.get("LOCAL_RANK", "0") if "RANK" in os.environ else "0"
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"LOCAL_RANK={one_line(text)}: not a number; unset RANK or set both")
    return int(text)


def refuse_too_many_ranks(size: int, choice: Choice, device: Device) -> None:
    """Makes sure that each rank has a device of its own that can work with others; a CPU is shared.

    Raises:
        DeviceError: There are too few.
        UsageError: They cannot.
    """
    from modeltest.devices.ascend_products import refuse_tensor_parallel

    if device.is_host or size == 1:
        return
    if size > choice.num_devices:
        raise DeviceError(
            f"--tp {size}: needs as many devices, and {choice.num_devices} {device.label} can be "
            "used; make more visible (ASCEND_RT_VISIBLE_DEVICES, CUDA_VISIBLE_DEVICES), or begin a "
            "run with a smaller --tp"
        )
    refuse_tensor_parallel(str(device.facts()["name"]), size)


def dismiss_ranks(device: Device, size: int) -> None:
    """Rank 0, when nothing is left to do: lets the others, which wait to load, end in order."""
    if size > 1:
        from modeltest.backends.transformers.tensor_parallel import Ranks

        Ranks(device, size).leave()


def announce(run_folder: Path) -> None:
    """Tells the process that started this rank which run to continue, should this one be killed."""
    pipe = os.environ.pop(_PIPE_VARIABLE, "")
    if pipe:
        os.write(int(pipe), os.fsencode(run_folder))
        os.close(int(pipe))


def _own_size(options: argparse.Namespace, settings: ModelSettings) -> int:
    """`--tp auto`: as a resumed run was begun, else all visible devices of the kind chosen.

    Raises:
        ModeltestError: No model can be split over so many, or none can be had.
    """
    from modeltest.backends.factory import is_another_architecture

    if is_another_architecture(settings):
        return 1
    if "RANK" in os.environ:
        raise UsageError(
            f"--tp {AUTO}, but RANK={one_line(os.environ['RANK'])} in the environment; give --tp "
            "the number of ranks that were started, or unset RANK"
        )
    if options.resume:
        size = _recorded_size(options)
    else:
        choice = _choice_to_split(options.device)
        size = choice.num_devices
        # For rank 0, or for this process if it stays alone: asking again would take as long.
        os.environ[_CHOICE_VARIABLE] = json.dumps(asdict(choice))
    if size not in SIZES:
        raise UsageError(
            f"the number of visible devices is {size}, but a model can be split over 1, 2, 4 or "
            "8: choose with --tp, or give each device a whole model with --dp"
        )
    # For the ranks, and for the command that continues the run.
    sys.argv[:] = _with_size(sys.argv, size)
    return size


def _size_as_begun(options: argparse.Namespace) -> int:
    """Without `--tp`: the ranks of the run that is resumed, else this process alone."""
    size = _recorded_size(options) if options.resume else 1
    if size > 1:  # for the ranks, to whom `last` may be another run by then
        sys.argv += ["--tp", str(size)]
    return size


def _recorded_size(options: argparse.Namespace) -> int:
    from modeltest.runlog.find import find_run
    from modeltest.runlog.manifest import place_from, read_manifest

    folder = find_run(options.resume, options.output_dir)
    size = place_from(read_manifest(folder), folder).tp
    if size not in SIZES:
        raise DataError(f"{folder}: its manifest's place.tp {size} is refused; give another run")
    return size


def _choice_to_split(requested: str) -> Choice:
    """As `choose`; of devices that cannot share a model it is one, and the reason says so."""
    from modeltest.devices.ascend_products import is_300i_duo
    from modeltest.devices.factory import choose, may_be_npu
    from modeltest.devices.probe import probe, torch_npu_installed

    if not (may_be_npu(requested) and torch_npu_installed()):
        return choose(requested)
    found = probe(details=True)
    choice = choose(requested, found)
    of_kind = [seen.name for seen in found.devices if seen.torch_name.startswith(choice.kind)]
    alone = next(filter(is_300i_duo, of_kind), "")
    if not alone or choice.num_devices == 1:
        return choice
    reason = f"--tp {AUTO} is 1: {alone} (300I DUO) does not support tensor parallelism"
    return replace(choice, num_devices=1, reason=f"{choice.reason}; {reason}")


def _with_size(words: list[str], size: int) -> list[str]:
    given = list(words)
    for index, word in enumerate(words):
        if word == AUTO and words[index - 1] == "--tp":
            given[index] = str(size)
        elif word == f"--tp={AUTO}":
            given[index] = f"--tp={size}"
    return given


def _handed_down() -> Choice | None:
    from modeltest.devices.factory import Choice

    text = os.environ.pop(_CHOICE_VARIABLE, "")
    return Choice(**json.loads(text)) if text else None


def _choice_of_rank_0(size: int) -> Choice:
    from modeltest.devices.factory import choose
    from modeltest.devices.probe import import_torch_alone

    import_torch_alone()  # what else it takes depends on the kind
    from modeltest.backends.transformers.tensor_parallel import share_kind

    kind = share_kind(size)
    try:
        return choose(kind)
    except DeviceError as error:
        raise DeviceError(
            f"rank {os.environ['RANK']} cannot compute on {kind} as rank 0 does: {error}"
        ) from error


def _checked_model(options: argparse.Namespace) -> ModelSettings:
    """What is wrong is said before devices are asked and before a library reads the checkpoint."""
    from modeltest.backends.factory import checked_model, refuse_ranks
    from modeltest.cli.options import load_settings

    model, _ = load_settings(options)
    settings = checked_model(model).settings
    if options.tp != AUTO:
        refuse_ranks(settings, options.tp)
    return settings


def _follow(options: argparse.Namespace, settings: ModelSettings) -> int:
    from modeltest.backends.factory import follow_first_rank
    from modeltest.backends.transformers.tensor_parallel import RankLostError

    try:
        _, device = own_device(options)
        if options.certified:
            device.use_deterministic_algorithms()
        follow_first_rank(settings, options.seed, device, options.tp)
    except RankLostError as error:  # the rank that failed says why
        _say(str(error))
        return EXIT_INCOMPLETE
    # The libraries' own ends, which may crash when a driver is in a hurry, are nobody's concern.
    os._exit(EXIT_OK)


def _end_with_parent() -> None:
    """The thread: descriptor 0 is a pipe, which closes when whoever started this rank ends."""
    while os.read(0, 1):
        pass
    os._exit(EXIT_DEVICE)


def _run_ranks(size: int) -> int:
    ranks = _Ranks(size, _environment(size))
    try:
        return ranks.wait()
    except Interrupted as interruption:
        to_continue = ranks.to_continue()
        if not to_continue:  # nothing was begun, and rank 0 may not be up to signals yet
            raise
        ranks.interrupt(signal.Signals(interruption.exit_code - 128))
        with last_words(to_continue):
            code = ranks.wait()
        return code if code != EXIT_DEVICE else interruption.exit_code
    finally:
        ranks.kill()


class _Ranks:
    """The processes of all ranks; each ends when this one does."""

    def __init__(self, size: int, environment: dict[str, str]) -> None:
        self._announced, told = os.pipe()
        self._folder: Path | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._messages: list[IO[bytes]] = []
        try:
            for rank in range(size):
                self._start(rank, told, environment)
        except BaseException:
            self.kill()
            raise
        finally:
            os.close(told)

    def wait(self) -> int:
        """Waits for rank 0 and says what happened to it, or to the others, if they fail.

        Returns:
            Rank 0's exit code; EXIT_DEVICE where it was killed or had to be, and EXIT_USAGE
            where that was for a mistake that another rank alone could see.
        """
        first, patience_ends_s = self._processes[0], 0.0
        while first.poll() is None:
            now_s = time.monotonic()
            if not patience_ends_s and self._failed():
                patience_ends_s = now_s + _PATIENCE_S
            if patience_ends_s and now_s > patience_ends_s:
                break
            time.sleep(_POLL_S)
        code = first.returncode
        if code == EXIT_OK:
            self._await(self._processes[1:])
            return EXIT_OK
        if code is None or code < 0 or code == EXIT_DEVICE:
            self._await(self._processes[1:])  # one may still be about to say why
            self._show_failures()
        if code is not None and code >= 0:
            return code
        if code is None and EXIT_USAGE in self._failed().values():  # found before ranks meet
            return EXIT_USAGE
        self.kill()
        folder = self._run_folder()
        return resumable(folder, lambda: EXIT_DEVICE) if folder else EXIT_DEVICE

    def interrupt(self, number: signal.Signals) -> None:
        """Passes a signal on to rank 0, whose end is everybody's."""
        with suppress(ProcessLookupError):
            self._processes[0].send_signal(number)

    def to_continue(self) -> str:
        """The command that continues the run, if there is one by now."""
        folder = self._run_folder()
        return f"to continue: {resume_command(folder)}" if folder else ""

    def kill(self) -> None:
        """Ends what still runs."""
        for process in self._processes:
            process.kill()
        self._await(self._processes)

    def _start(self, rank: int, told: int, environment: dict[str, str]) -> None:
        numbers = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        messages: IO[bytes] | None = None
        if rank:
            messages = tempfile.TemporaryFile()  # noqa: SIM115  (read when the rank ended)
            self._messages.append(messages)
        self._processes.append(
            subprocess.Popen(
                [sys.executable, "-c", _CODE, json.dumps([sys.path, sys.argv])],
                stdin=subprocess.PIPE,  # never written to: it tells that this process lives
                stdout=messages,
                stderr=messages,
                env={**environment, **numbers, _PIPE_VARIABLE: "" if rank else str(told)},
                pass_fds=() if rank else (told,),
                start_new_session=True,  # Ctrl-C in the terminal is this process's business
            )
        )

    def _failed(self) -> dict[int, int]:
        """Exit codes of the ranks above 0 that ended, and not in order."""
        ended = {rank: process.poll() for rank, process in enumerate(self._processes) if rank}
        return {rank: code for rank, code in ended.items() if code}

    @staticmethod
    def _await(processes: list[subprocess.Popen[bytes]]) -> None:
        deadline_s = time.monotonic() + _EXIT_S
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline_s - time.monotonic()))

    def _show_failures(self) -> None:
        code = self._processes[0].returncode
        if code is not None and code < 0:
            _say(f"rank 0 was ended by {signal.Signals(-code).name}")
        for rank, code in self._failed().items():
            last = _last_line(self._messages[rank - 1])
            if code < 0:
                _say(f"rank {rank} was ended by {signal.Signals(-code).name}")
            elif last and code != EXIT_INCOMPLETE:
                _say(last)

    def _run_folder(self) -> Path | None:
        os.set_blocking(self._announced, False)
        with suppress(BlockingIOError):
            announced = os.read(self._announced, 1 << 16)
            if announced:
                self._folder = Path(os.fsdecode(announced))
        return self._folder


def _environment(size: int) -> dict[str, str]:
    """What all ranks are told beside this process's own variables."""
    from modeltest.backends.transformers.tensor_parallel import GROUP_VARIABLE, LOOPBACK
    from modeltest.devices.cpu import threads_per_process

    told = {
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(_free_port(LOOPBACK)),
        GROUP_VARIABLE: secrets.token_hex(8),
    }
    kept = threads_per_process(size)
    if "lo" in (name for _, name in socket.if_nameindex()):
        # Else by the host's name, which may not resolve, and which others reach.
        kept["GLOO_SOCKET_IFNAME"] = "lo"
    return {**kept, **os.environ, **told}


def _free_port(address: str) -> int:
    text = os.environ.get("MASTER_PORT", "") or str(DEFAULT_PORT)
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 16):
        raise UsageError(f"MASTER_PORT={one_line(text)}: not a port; set a number up to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, int(text)))
        except OSError as error:
            raise UsageError(
                f"port {text}, by which the ranks of --tp find each other, cannot be used "
                f"({error.strerror}); set MASTER_PORT to a free one"
            ) from error
    return int(text)


def _last_line(messages: IO[bytes]) -> str:
    """What modeltest said last, or else a library."""
    size = messages.seek(0, os.SEEK_END)
    messages.seek(max(0, size - _MAX_MESSAGES_BYTES))
    lines = messages.read().decode("utf-8", errors="replace").splitlines()
    own = [line.removeprefix(_NAME) for line in lines if line.startswith(_NAME)]
    return one_line((own or lines or [""])[-1])


def _say(text: str) -> None:
    print(f"{_NAME}{text}", file=sys.stderr)
