"""Signals while the main thread works in Python, and while it is deep in a library."""

import signal
import subprocess
import sys
import time

import pytest

from modeltest.cli.signals import Interrupted

# A mutex that is locked twice is waited for for ever, and no signal ends the waiting.
IN_C = "lock = ctypes.CDLL(None).pthread_mutex_lock; lock(mutex); lock(mutex)"
STUBBORN = """
        while True:
            try:
                time.sleep(60)
            except signals.Interrupted:
                pass
"""
SCRIPT = """
import ctypes, sys, time
from modeltest.cli import signals
mutex = ctypes.create_string_buffer(256)
signals.GRACE_S = float(sys.argv[1])
try:
    with signals.interruptible(), signals.last_words("to continue: this"):
        print("ready", flush=True)
        {work}
except signals.Interrupted as error:
    print("in order", file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def start():
    started = []

    def command(work, grace_s=60.0):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(work=work), str(grace_s)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        return process

    yield command
    for process in started:
        process.kill()
        process.communicate()


def test_a_wait_that_the_signal_itself_did_not_end_is_ended(start):
    # As where it comes right before the wait begins: here another thread receives it.
    blocked = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})"
    process = start(f"{blocked}; time.sleep(60)")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "in order\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_ends_the_work_in_order(start, number):
    process = start("time.sleep(60)")
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (128 + number, "in order\n")


DESTRUCTOR = """
        class Slow:
            def __del__(self):
                time.sleep(60)

        Slow()
        time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_meets_a_destructor_ends_the_work_in_order_too(start, number):
    process = start(DESTRUCTOR)
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (128 + number, "in order\n")


SERIALIZER = """
        import pydantic

        class Settings(pydantic.BaseModel):
            name: str

            @pydantic.field_serializer("name")
            def wait(self, value):
                time.sleep(60)

        Settings(name="a").model_dump()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_compiled_code_turns_into_its_own_error_ends_the_work_in_order(start, number):
    process = start(SERIALIZER)
    time.sleep(1.0)  # to import pydantic
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (128 + number, "in order\n")


def test_an_error_without_a_signal_stays_what_it_is(start):
    process = start("raise ValueError('broken')")
    _, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert err.rstrip().endswith("ValueError: broken")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_work_deep_in_a_library_ends_when_the_time_is_over(start, number):
    process = start(IN_C, grace_s=0.5)
    begin_s = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert 0.4 < time.monotonic() - begin_s < 5
    assert process.returncode == 128 + number
    assert err == f"modeltest: ended by {number.name} at once\nto continue: this\n"


@pytest.mark.parametrize("work", [IN_C, STUBBORN], ids=["in C", "stubborn"])
def test_the_second_ends_it_at_once_wherever_it_is(start, work):
    process = start(work)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    begin_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - begin_s < 2
    assert process.returncode == 130
    assert err.endswith("to continue: this\n")


def test_stubborn_work_ends_when_the_time_is_over(start):
    process = start(STUBBORN, grace_s=0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143


def test_other_signals_count_for_nothing(start):
    process = start(
        "import signal; signal.signal(signal.SIGUSR1, lambda *_: None)\n        time.sleep(60)"
    )
    for _ in range(3):
        process.send_signal(signal.SIGUSR1)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143


STOPPABLE = """
        def wait():
            print("working", flush=True)
            time.sleep(60)

        while True:
            assert signals.unless_stopped(wait) is None
            print("stopped", flush=True)
            {between}
"""
SWALLOWED = """
        def wait():
            try:
                print("working", flush=True)
                time.sleep(60)
            except BaseException:
                return "a failure"

        while True:
            assert signals.unless_stopped(wait) is None
            print("stopped", flush=True)
"""


@pytest.mark.parametrize(
    "work", [STOPPABLE.format(between=""), SWALLOWED], ids=["raised", "swallowed"]
)
def test_what_is_stoppable_is_stopped_as_often_as_wanted_and_nothing_else(start, work):
    process = start(work, grace_s=0.5)
    for _ in range(3):
        assert process.stdout.readline() == "working\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopped\n"
        time.sleep(0.4)
    time.sleep(0.5)  # longer than a first signal would leave it
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (143, "in order\n")


def test_after_a_stop_the_next_signal_ends_the_command_in_order(start):
    process = start(STOPPABLE.format(between="time.sleep(60)"))
    assert process.stdout.readline() == "working\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopped\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "in order\n")


@pytest.mark.parametrize("signals", [2, 1], ids=["a second signal", "the time"])
def test_what_cannot_be_stopped_is_ended(start, signals):
    in_c = "[ctypes.CDLL(None).pthread_mutex_lock(mutex) for _ in range(2)]"
    grace_s = 60.0 if signals == 2 else 0.5
    process = start(f"signals.unless_stopped(lambda: {in_c})", grace_s)
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err.splitlines()[0]) == (130, "modeltest: ended by SIGINT at once")


def test_work_that_is_not_stopped_returns(start):
    process = start("print(signals.unless_stopped(lambda: 5), flush=True)")
    assert process.stdout.read() == "5\n"
    assert process.wait(10) == 0


def test_afterwards_everything_is_as_before():
    from modeltest.cli.signals import interruptible

    before = signal.getsignal(signal.SIGTERM)
    for _ in range(3):
        with interruptible():
            assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    wakeup = signal.set_wakeup_fd(-1)
    assert wakeup == -1


def test_an_interrupt_is_no_exception():
    assert not issubclass(Interrupted, Exception)
    assert Interrupted(15).exit_code == 143
