"""`modeltest chat` as users start it: one question, a dialogue in a pipe and on a terminal."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from raw_http import END, HOLD, KEEP, RawServer, event, stream_head

QUESTION = (
    "In this audio, what kind of sound can you hear? A: Laughter, B: Sigh, C: Cough, "
    "D: Throat clearing, E: Sneeze, F: Sniff, Please select the one closest to the correct "
    "answer."
)
# Answers by a word and, to the word "wait", by half an answer and nothing more.
SLOW = """
import sys, time
from modeltest.backends.null import NullBackend
from modeltest.records import Response

def generate(self, requests, prepared=None, on_text=None):
    [request] = requests
    on_text(0, "half")
    if request.prompt.text == "wait":
        time.sleep(60)
    on_text(0, f" of {len(request.prompt.turns)}")
    return [Response(request.sample_id, f"half of {len(request.prompt.turns)}")]

NullBackend.generate = generate
from modeltest.cli.main import console
console()
"""


@pytest.fixture
def chat(checkout, tmp_path):
    def command(lines, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "modeltest", "chat", "qwen2_audio_tiny", "--dtype", "fp32",
             "--device", "cpu", *map(str, arguments)],
            cwd=tmp_path, input=lines, capture_output=True, text=True, check=False, timeout=200,
            env={**os.environ, "PYTHONPATH": str(checkout)},
        )  # fmt: skip

    return command


@pytest.mark.parametrize("engine", ["fast", "stock"])
def test_one_question_is_answered_as_in_the_task(chat, mini_clips, golden_replies, engine):
    done = chat("", "--audio", mini_clips[1], "--text", QUESTION, "--engine", engine)
    assert done.returncode == 0, done.stderr
    assert done.stdout == golden_replies["chat"][mini_clips[1].stem] + "\n"


def test_all_clips_are_one_question(chat, mini_clips):
    done = chat("", "--audio", *mini_clips[:3], "--text", "Which is the loudest?")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert "Audio 3: " in done.stderr


def test_a_dialogue_in_a_pipe(chat, mini_clips, golden_replies, tmp_path):
    first, second, third = mini_clips[:3]
    lines = (
        f"{QUESTION}\nAre you sure?\n/audio {third}\nAnd this one?\n"
        f"<|im_end|>\n/audio gone.wav\n/reset\n/audio {second}\n{QUESTION}\n"
    )
    done = chat(lines, "--audio", first)
    assert done.returncode == 0, done.stderr
    answers = done.stdout.splitlines()
    assert len(answers) == 4
    assert answers[0] == golden_replies["chat"][first.stem]
    assert answers[3] == golden_replies["chat"][second.stem]
    mistakes = [line for line in done.stderr.splitlines() if line.startswith("modeltest: ")]
    assert mistakes == [
        "modeltest: the question holds <|im_end|>, a control token; leave it out",
        "modeltest: gone.wav: does not exist",
    ]
    assert not (tmp_path / "outputs").exists()


class Terminal:
    """A dialogue on a terminal of its own."""

    def __init__(self, command, **where):
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, **where)
        os.close(slave)
        self._seen = ""

    def wait_for(self, text):
        """Reads up to a text; returns what came before."""
        end_s = time.monotonic() + 60
        while text not in self._seen:
            assert time.monotonic() < end_s, self._seen
            self._seen += os.read(self._master, 4096).decode()
        before, self._seen = self._seen.split(text, 1)
        return before

    def type(self, text):
        os.write(self._master, text.encode())

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def open_terminal(checkout, tmp_path, mini_clips):
    opened = []

    def start(*command):
        opened.append(Terminal(
            [sys.executable, *command, "--audio", str(mini_clips[0])],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(checkout), "TERM": "dumb"},
        ))  # fmt: skip
        opened[0].wait_for("> ")
        return opened[0]

    yield start
    opened[0].close()


@pytest.fixture
def terminal(open_terminal):
    return open_terminal("-c", SLOW, "chat", "null")


def test_ctrl_c_on_a_terminal_stops_the_answer_and_then_the_command(terminal):
    terminal.type("one\n")
    terminal.wait_for("half of 0\r\n")
    for _ in range(2):
        terminal.wait_for("> ")
        terminal.type("wait\n")
        terminal.wait_for("half")
        time.sleep(0.2)
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for("stopped; neither question nor answer is kept\r\n")
    terminal.wait_for("> ")
    terminal.type("two\n")
    terminal.wait_for("half of 1\r\n")
    terminal.wait_for("> ")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.wait_for("modeltest: ended by SIGINT\r\n") == "\r\n"
    assert terminal.process.wait(10) == 130


@pytest.mark.parametrize("typed", ["\x04", "/exit\n"])
def test_ctrl_d_and_exit_end_the_dialogue(terminal, typed):
    terminal.type("one\n")
    terminal.wait_for("half of 0\r\n> ")
    terminal.type(typed)
    assert terminal.process.wait(10) == 0


def test_what_is_typed_at_the_prompt_can_be_called_back(terminal):
    terminal.type("one\n")
    terminal.wait_for("half of 0\r\n> ")
    terminal.type("\x10\n")  # Ctrl-P, as the arrow up
    assert "one" in terminal.wait_for("half of 1\r\n")


def says(*words):
    """Events of a streamed answer, without its end."""
    return [event({"choices": [{"index": 0, "delta": {"content": word}}]}) for word in words]


def stop():
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}
    return [event(last), event("[DONE]"), END, KEEP]


def test_a_dialogue_with_a_service_and_ctrl_c_in_its_answer(open_terminal, tmp_path):
    scripts = [
        [stream_head(), *says("a ", "咳嗽"), *stop()],
        [stream_head(), *says("half"), HOLD],
        [stream_head(), *says("yes"), *stop()],
    ]
    with RawServer(scripts) as server:
        settings = {"backend": "openai", "service": "vllm", "model": "m", "base_url": server.url}
        lines = [f"{key}: {json.dumps(value)}\n" for key, value in settings.items()]
        (tmp_path / "served.yaml").write_text("".join(lines))
        terminal = open_terminal("-m", "modeltest", "chat", "served.yaml")
        terminal.type("first?\n")
        terminal.wait_for("a 咳嗽\r\n> ")
        terminal.type("wait\n")
        terminal.wait_for("half")
        time.sleep(0.2)
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for("stopped; neither question nor answer is kept\r\n> ")
        terminal.type("sure?\n")
        terminal.wait_for("yes\r\n> ")
        terminal.type("/exit\n")
        assert terminal.process.wait(10) == 0
        messages = server.posts[-1].value["messages"]
    assert server.posts[-1].value["stream"] is True
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == "a 咳嗽"
    assert "first?" in str(messages[0])
    assert "sure?" in str(messages[2])
    assert [str(message).count("data:audio") for message in messages] == [1, 0, 0]
