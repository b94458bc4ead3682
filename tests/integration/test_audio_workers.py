"""Decoder processes: the same results as in process, and a failure costs its clip only."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from modeltest.audio import child_process
from modeltest.audio.decode import decode, inspect
from modeltest.audio.workers import LONGEST_DECODE_S, DecodeWorkers
from modeltest.errors import AudioError, ModeltestError
from modeltest.records import AudioSource

RATE = 16_000

# The decoder of a test's child: a clip's name says what happens to it.
BAD_DECODER = """
import os, signal, time
from modeltest.audio import decode_child
real = decode_child.decode

def decode(source, rate):
    if source.name == "abort":
        os.abort()
    if source.name == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if source.name == "exit":
        os._exit(7)
    if source.name == "sleep":
        time.sleep(60)
    if source.name == "swell":
        bytearray(8 << 30)
    if source.name == "bug":
        raise KeyError("one\\ntwo")
    if source.name == "babble":
        os.write(1, b"x" * 100)
        print("y" * 100)
    if source.name == "nonsense":
        decode_child.write_frame = lambda fd, header, payload=b"": os.write(fd, b"z" * 1000)
    if source.name == "nan":
        import numpy
        audio = real(source, rate)
        audio.waveform[5] = numpy.nan
        return audio
    return real(source, rate)

decode_child.decode = decode
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    sources = []
    for number in range(6):
        path = folder / f"{number} ü.flac"
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, 3000 + number)
        soundfile.write(path, noise, 22_050 if number == 5 else 16_000)
        sources.append(AudioSource(path.name, path=path))
    return sources


@pytest.fixture
def bad_decoder(monkeypatch):
    before, line, after = child_process._CODE.partition("from modeltest")
    monkeypatch.setattr(child_process, "_CODE", before + BAD_DECODER + line + after)


def same(one, other):
    return (
        one.waveform.tobytes() == other.waveform.tobytes()
        and one.waveform.flags.writeable
        and (one.sha256, one.note, one.source_duration_s, one.sampling_rate_hz)
        == (other.sha256, other.note, other.source_duration_s, other.sampling_rate_hz)
    )


def named(clip, name):
    return AudioSource(name, path=clip.path)


class TestSameAsInProcess:
    @pytest.mark.parametrize("num_workers", [1, 2])
    def test_files_and_bytes(self, clips, num_workers):
        with DecodeWorkers(num_workers) as workers:
            for clip in clips:
                assert workers.inspect(clip) == inspect(clip)
                assert same(workers.decode(clip, RATE), decode(clip, RATE))
                loaded = AudioSource(clip.name, read=clip.path.read_bytes)
                assert same(workers.decode(loaded, RATE), decode(clip, RATE))
            results = list(workers.decode_all(iter(clips), RATE))
        assert all(map(same, results, (decode(clip, RATE) for clip in clips)))

    def test_more_bytes_than_a_pipe_holds(self, tmp_path):
        path = tmp_path / "long.wav"
        soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 2_000_000), RATE)
        clip = AudioSource("long.wav", read=path.read_bytes)
        with DecodeWorkers() as workers:
            assert same(workers.decode(clip, RATE), decode(clip, RATE))

    @pytest.mark.parametrize(
        "clip",
        [
            AudioSource("gone.wav", path="/nowhere/gone.wav"),
            AudioSource("zero", path="/dev/zero"),
            AudioSource("text", read=lambda: b"no audio"),
            AudioSource("empty", read=lambda: b""),
            AudioSource("\udcff\n\x1b[1m", read=lambda: b"no audio"),
        ],
        ids=lambda clip: ascii(clip.name),
    )
    def test_refusals(self, clip):
        with pytest.raises(AudioError) as here:
            decode(clip, RATE)
        with DecodeWorkers() as workers:
            for look in (workers.inspect, lambda one: workers.decode(one, RATE)):
                with pytest.raises(AudioError) as there:
                    look(clip)
                assert str(there.value) == str(here.value)

    def test_hostile_path(self, clips, tmp_path):
        path = tmp_path / "a\n\udcff;$(x).flac"
        path.write_bytes(clips[0].path.read_bytes())
        clip = AudioSource("clip", path=path)
        with DecodeWorkers() as workers:
            assert same(workers.decode(clip, RATE), decode(clip, RATE))

    def test_a_failing_read_stays_in_its_place(self, clips):
        def fail():
            raise OSError(5, "Input/output error")

        with DecodeWorkers(2) as workers:
            sources = [clips[0], AudioSource("row", read=fail), clips[1]]
            first, second, third = workers.decode_all(sources, RATE)
        assert same(first, decode(clips[0], RATE))
        assert same(third, decode(clips[1], RATE))
        assert str(second) == "row: cannot be read (Input/output error)"


class TestFailuresCostOneClip:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("abort", "its decoder crashed (SIGABRT)"),
            ("segfault", "its decoder crashed (SIGSEGV)"),
            ("exit", "its decoder crashed (exit status 7)"),
            ("swell", "the decoder failed: it needs more memory than a decoder may use"),
            ("bug", r"the decoder failed: KeyError: 'one\ntwo'"),
            ("nonsense", "its decoder crashed (its reply is too long)"),
            ("nan", "its decoder crashed (its waveform is not finite)"),
        ],
    )
    def test_it_is_named_and_the_next_clip_decodes(self, clips, bad_decoder, name, message):
        with DecodeWorkers() as workers:
            with pytest.raises(AudioError) as caught:
                workers.decode(named(clips[0], name), RATE)
            assert str(caught.value) == f"{name}: {message}"
            assert same(workers.decode(clips[1], RATE), decode(clips[1], RATE))

    def test_a_hang_ends_at_the_timeout(self, clips, bad_decoder):
        with DecodeWorkers(timeout_s=1.0) as workers:
            workers.decode(clips[0], RATE)
            start_s = time.monotonic()
            with pytest.raises(AudioError, match=r"^sleep: decoding it took longer than 1 s$"):
                workers.decode(named(clips[0], "sleep"), RATE)
            assert time.monotonic() - start_s < 3
            assert same(workers.decode(clips[0], RATE), decode(clips[0], RATE))

    def test_what_a_library_prints_is_no_answer(self, clips, bad_decoder):
        with DecodeWorkers() as workers:
            assert same(workers.decode(named(clips[0], "babble"), RATE), decode(clips[0], RATE))

    def test_in_a_row_of_clips(self, clips, bad_decoder):
        names = ["abort", "ok", "swell", "nan", "ok", "exit"]
        with DecodeWorkers(2) as workers:
            row = [named(clip, name) for clip, name in zip(clips, names, strict=True)]
            results = list(workers.decode_all(row, RATE))
        assert [isinstance(one, AudioError) for one in results] == [n != "ok" for n in names]
        assert same(results[1], decode(clips[1], RATE))

    @pytest.mark.parametrize("bad", ["abort", "exit", "nonsense"])
    def test_the_clip_that_a_child_was_to_take_next_is_not_blamed(self, clips, bad_decoder, bad):
        row = [named(clips[0], name) for name in ("first", bad, "next", "last")]
        with DecodeWorkers() as workers:
            results = list(workers.decode_all(row, RATE))
        assert [isinstance(one, AudioError) for one in results] == [False, True, False, False]
        assert all(same(one, decode(clips[0], RATE)) for one in (results[0], *results[2:]))

    @pytest.mark.parametrize("num_workers", [1, 2])
    def test_many_clips_ahead_of_several_bad_ones(self, clips, bad_decoder, num_workers):
        names = ["ok"] * 30
        names[3] = names[4] = names[20] = "exit"
        row = [named(clips[number % 5], name) for number, name in enumerate(names)]
        with DecodeWorkers(num_workers) as workers:
            results = list(workers.decode_all(row, RATE))
        assert [isinstance(one, AudioError) for one in results] == [n != "ok" for n in names]
        for number, (name, result) in enumerate(zip(names, results, strict=True)):
            assert name != "ok" or same(result, decode(clips[number % 5], RATE))

    def test_long_answers_and_long_names_wait_in_line(self, clips, tmp_path):
        path = tmp_path / "long.wav"
        soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 100_000), RATE)
        row = [AudioSource(f"{number}" + "é" * 1000, path=path) for number in range(12)]
        row[5] = AudioSource("read", read=path.read_bytes)
        with DecodeWorkers() as workers:
            results = []
            for audio in workers.decode_all(row, RATE):
                results.append(audio)
                time.sleep(0.05)  # the child is ahead and waits to get rid of its answers
        wanted = decode(row[0], RATE)
        assert all(same(one, wanted) for one in results)
        assert len(results) == 12

    def test_a_hang_costs_the_next_clip_nothing(self, clips, bad_decoder):
        row = [named(clips[0], name) for name in ("first", "sleep", "next")]
        with DecodeWorkers(timeout_s=1.0) as workers:
            results = list(workers.decode_all(row, RATE))
        assert [isinstance(one, AudioError) for one in results] == [False, True, False]

    def test_stop_frees_a_thread_that_waits(self, clips, bad_decoder):
        with DecodeWorkers() as workers, ThreadPoolExecutor(1) as pool:
            workers.decode(clips[0], RATE)
            future = pool.submit(workers.decode, named(clips[0], "sleep"), RATE)
            time.sleep(0.2)
            begin_s = time.monotonic()
            workers.stop()
            with pytest.raises(ModeltestError, match="stopped"):
                future.result()
            assert time.monotonic() - begin_s < 2
            with pytest.raises(ModeltestError, match="stopped"):
                workers.decode(clips[0], RATE)

    def test_a_child_killed_while_idle_costs_nothing(self, clips):
        with DecodeWorkers() as workers:
            workers.decode(clips[0], RATE)
            os.kill(workers._idle[0]._process.pid, signal.SIGKILL)
            workers._idle[0]._process.wait()
            assert same(workers.decode(clips[0], RATE), decode(clips[0], RATE))

    def test_a_child_that_cannot_start_is_no_clips_fault(self, clips, monkeypatch):
        monkeypatch.setattr(child_process, "_CODE", "raise SystemExit(3)")
        with (
            DecodeWorkers() as workers,
            pytest.raises(ModeltestError, match=r"does not start: exit status 3$") as caught,
        ):
            workers.decode(clips[0], RATE)
        assert not isinstance(caught.value, AudioError)


class TestLifeOfChildren:
    def test_none_is_left(self, clips):
        with DecodeWorkers(2) as workers:
            ahead = workers.decode_all(clips, RATE)
            next(ahead)
            children = [child._process for child in (*workers._idle, *workers._busy)]
            ahead.close()
        assert len(children) == 2
        assert all(process.returncode is not None for process in children)

    def test_no_secret_reaches_them(self, clips, monkeypatch):
        monkeypatch.setenv("API_KEY", "canary-7c1")
        with DecodeWorkers() as workers:
            workers.decode(clips[0], RATE)
            with open(f"/proc/{workers._idle[0]._process.pid}/environ", "rb") as file:
                assert b"canary" not in file.read()

    def test_they_load_no_torch_and_ignore_ctrl_c(self, clips):
        with DecodeWorkers() as workers:
            workers.inspect(clips[0])
            child = workers._idle[0]._process
            with open(f"/proc/{child.pid}/maps") as file:
                assert "torch" not in file.read()
            os.kill(child.pid, signal.SIGINT)
            assert same(workers.decode(clips[0], RATE), decode(clips[0], RATE))
            assert workers._idle[0]._process is child

    @pytest.mark.parametrize("name", ["idle", "sleep"])
    def test_they_die_with_a_killed_parent(self, clips, tmp_path, name):
        program = tmp_path / "program.py"
        program.write_text(
            textwrap.dedent(f"""
                from modeltest.audio import child_process
                from modeltest.audio.workers import DecodeWorkers
                from modeltest.records import AudioSource
                before, line, after = child_process._CODE.partition("from modeltest")
                child_process._CODE = before + {BAD_DECODER!r} + line + after
                with DecodeWorkers(timeout_s=1.0) as workers:
                    workers.inspect(AudioSource("x", path={str(clips[0].path)!r}))
                    print(workers._idle[0]._process.pid, flush=True)
                    if {name!r} == "sleep":
                        workers.decode(AudioSource("sleep", path={str(clips[0].path)!r}), 16000)
                    input()
            """),
            encoding="utf-8",
        )
        with subprocess.Popen(
            [sys.executable, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        ) as parent:
            child = int(parent.stdout.readline())
            time.sleep(0.2)
            parent.kill()
        deadline_s = time.monotonic() + 8
        while running(child) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert not running(child)


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_importing_loads_no_library():
    code = (
        "import sys, modeltest.audio.workers\n"
        "print([n for n in ('numpy', 'soundfile', 'librosa', 'torch') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nobody_waits_longer_than_ten_seconds_for_a_clip():
    assert LONGEST_DECODE_S < 10
    assert DecodeWorkers()._timeout_s == LONGEST_DECODE_S
