"""What `modeltest serve` says when it cannot start or go on; nothing is loaded before."""

import base64
import http.client
import importlib.util
import io
import json
import socket
import threading
import time
import wave
from contextlib import suppress

import pytest

from modeltest.backends import factory
from modeltest.backends.null import NullBackend
from modeltest.cli import serve
from modeltest.cli.main import main
from modeltest.devices.cpu import CpuDevice


@pytest.fixture
def fails(capsys):
    def run(*arguments):
        assert main(["serve", "null", "--device", "cpu", "--port", "0", *arguments]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        [line] = printed.err.splitlines()
        return line

    return run


def test_the_missing_extra_is_one_line(fails, monkeypatch):
    monkeypatch.setattr(serve, "find_spec", lambda name: name != "uvicorn" or None)
    assert fails() == "modeltest: serve needs uvicorn; run: pip install 'modeltest[service]'"


def test_what_the_extra_brings_is_what_is_looked_for():
    assert all(importlib.util.find_spec(name) for name in serve._EXTRA)


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_key_that_is_not_there(fails, monkeypatch, value):
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    assert fails("--api-key-env", "SOME_KEY") == (
        "modeltest: --api-key-env SOME_KEY: the variable is not set, or empty"
    )


@pytest.mark.parametrize("value", ["schlüssel-s3cret", "s3cret\nx"])
def test_a_key_that_no_header_can_carry_is_not_shown(fails, monkeypatch, value):
    monkeypatch.setenv("SOME_KEY", value)
    line = fails("--api-key-env", "SOME_KEY")
    assert "printable ASCII" in line
    assert "s3cret" not in line


def test_a_media_folder_that_is_not_there(fails):
    assert "neither a folder nor a host name" in fails("--allow-media", "/no/such/folder")


def test_a_port_that_is_taken(fails):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port}: Address already in use" in fails("--port", str(port))


def test_a_setting_of_a_task(fails):
    assert fails("--set", "task.prompt_format=chat") == (
        "modeltest: --set task.prompt_format=chat: serve has no task"
    )


@pytest.mark.parametrize("port", ["65536", "-1", "x"])
def test_ports_that_are_none(capsys, port):
    with pytest.raises(SystemExit) as caught:
        main(["serve", "null", "--port", port])
    assert caught.value.code == 2
    assert "--port" in capsys.readouterr().err


def question():
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(400))
    part = {"data": base64.b64encode(buffer.getvalue()).decode()}
    return json.dumps({"prompt": [{"type": "input_audio", "input_audio": part}]})


@pytest.fixture
def asked():
    """Asks a server of this process as soon as it is there, in a thread; holds the statuses."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    statuses = []

    def ask():
        deadline_s = time.monotonic() + 20
        while not statuses and time.monotonic() < deadline_s:
            with suppress(ConnectionError):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                connection.request("POST", "/generate", question())
                statuses.append(connection.getresponse().status)
                connection.close()
            time.sleep(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    yield str(port), statuses
    thread.join(20)


def test_the_first_line_says_what_each_media_value_was_taken_for(
    asked, monkeypatch, capsys, tmp_path
):
    port, _ = asked
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    monkeypatch.setattr(NullBackend, "generate", lambda *_: 1 / 0)
    monkeypatch.setattr(CpuDevice, "is_alive", lambda _: False)
    media = ("--allow-media", "audio", "--allow-media", "clips")
    main(["serve", "null", "--device", "cpu", "--port", port, *media])
    ready = capsys.readouterr().err.splitlines()[0]
    assert f", clips also from folder {tmp_path}/clips, host audio)" in ready


def test_what_a_user_should_know_of_the_model_is_said_first(asked, monkeypatch, capsys):
    port, _ = asked
    monkeypatch.setattr(factory, "model_warnings", lambda _: ("engine stock: so it is",))
    monkeypatch.setattr(NullBackend, "generate", lambda *_: 1 / 0)
    monkeypatch.setattr(CpuDevice, "is_alive", lambda _: False)
    main(["serve", "null", "--device", "cpu", "--port", port])
    first, ready, *_ = capsys.readouterr().err.splitlines()
    assert first == "modeltest: warning: engine stock: so it is"
    assert ready.startswith("modeltest: serving null ")


def test_a_lost_device_is_exit_code_5_when_its_client_was_told(asked, monkeypatch, capsys):
    port, statuses = asked
    monkeypatch.setattr(NullBackend, "generate", lambda *_: 1 / 0)
    monkeypatch.setattr(CpuDevice, "is_alive", lambda _: False)
    assert main(["serve", "null", "--device", "cpu", "--port", port]) == 5
    assert statuses == [500]
    ready, stopped, lost = capsys.readouterr().err.splitlines()
    how = "(cpu, fp32, attention sdpa, engine fast, batches of up to "
    assert ready.startswith(f"modeltest: serving null on http://127.0.0.1:{port} {how}")
    assert stopped == (
        "modeltest: stopped; requests: 1 accepted, 0 answered, 1 refused or failed, "
        "0 left by their client"
    )
    assert lost.startswith("modeltest: cpu does not answer any more (ZeroDivisionError: ")


def test_a_bug_shows_its_traceback_when_its_client_was_told(asked, monkeypatch):
    port, statuses = asked
    monkeypatch.setattr(NullBackend, "num_input_tokens", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["serve", "null", "--device", "cpu", "--port", port])
    assert statuses == [500]
