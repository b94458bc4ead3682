"""What the backend tells the runner, against a server that does what it should."""

import argparse
import base64
import io
import time
from datetime import datetime, timezone

import numpy as np
import orjson
import pytest
import soundfile
from raw_http import DEFAULT_GETS, END, HOLD, KEEP, RawServer, answer, event, stream_head
from service_settings import QUESTION, ask, clip, service_backend, service_settings

from modeltest.backends.factory import check_model, make_backend, model_warnings
from modeltest.backends.service.transport import retry_after_s
from modeltest.devices.factory import Choice, choose_for, make_device
from modeltest.devices.service import ServiceDevice
from modeltest.errors import ModelError, UsageError
from modeltest.records import Prompt, Request, Turn
from modeltest.settings.schema import ModelSettings

REPLY = {
    "choices": [{"message": {"content": "C: Cough"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 70, "completion_tokens": 4},
}
GOOD = [answer(REPLY), KEEP]


def piece(text: str, **choice: object) -> bytes:
    return event({"choices": [{"delta": {"content": text}, **choice}]})


STREAM = [
    stream_head(), 0.1, piece("C:"), 0.2, piece(" "), piece("Cough", finish_reason="stop"),
    event("[DONE]"), END, KEEP,
]  # fmt: skip


def test_the_clip_arrives_bit_by_bit():
    with RawServer([GOOD]) as server:
        backend = service_backend(server.url, service="mindie")
        sent = clip(2000, seed=5)
        backend.generate([ask(clips=(sent,))])
        backend.close()
    [part, question] = server.posts[0].value["messages"][0]["content"]
    kind, _, data = part["audio_url"]["url"].partition(",")
    assert (kind, question["text"]) == ("data:audio/x-wav;base64", QUESTION)
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    assert rate == 16_000
    assert np.array_equal(heard, sent.waveform)


def test_each_request_has_its_own_reply_and_time():
    fast, slow = [answer(REPLY), KEEP], [0.4, answer(REPLY), KEEP]
    with RawServer([slow, fast]) as server:
        backend = service_backend(server.url, timeout_s=5.0)
        responses = backend.generate([ask("s0"), ask("s1")])
        backend.close()
    assert [response.sample_id for response in responses] == ["s0", "s1"]
    times = sorted(response.timing.e2e_s for response in responses)
    assert times[0] < 0.3
    assert times[1] >= 0.4
    for response in responses:
        assert (response.text, response.finish_reason) == ("C: Cough", "stop")
        assert (response.input_tokens, response.output_tokens) == (70, 4)
        assert (response.timing.stages, response.timing.stream) == (None, None)
        assert (response.output_ids, response.option_logits) == ((), ())
        assert response.input_text == "{audio}" + QUESTION


def test_a_stream_is_told_piece_by_piece_with_its_times():
    told = []
    with RawServer([STREAM]) as server:
        backend = service_backend(server.url, timeout_s=5.0)
        [response] = backend.generate([ask()], on_text=lambda *piece: told.append(piece))
        backend.close()
    assert told == [(0, "C:"), (0, " "), (0, "Cough")]
    assert response.text == "C: Cough"
    assert server.posts[0].value["stream"] is True
    stream = response.timing.stream
    assert 0.1 <= stream.ttft_s < 0.3
    assert len(stream.gap_s) == 2
    assert 0.15 <= stream.gap_s[0] < 0.4  # the first may have been noticed late
    assert stream.ttft_s + sum(stream.gap_s) <= response.timing.e2e_s


def test_what_is_not_streamed_is_told_at_once():
    told = []
    with RawServer([[answer({"generated_text": "C"}), KEEP]]) as server:
        backend = service_backend(server.url, "generate", request={"form": "tgi"})
        backend.generate([ask()], on_text=lambda *piece: told.append(piece))
        backend.close()
    assert told == [(0, "C")]


def test_measuring_asks_once_and_streams():
    busy = [answer({}, "503 Busy"), KEEP]
    with RawServer([STREAM, busy]) as server:
        settings = service_settings(server.url, retries=3, timeout_s=5.0)
        backend = make_backend(settings, 0, ServiceDevice(), measuring=True)
        [first] = backend.generate([ask()])
        [second] = backend.generate([ask()])
        backend.close()
    assert first.timing.stream is not None
    assert second.error == "status 503: {}"
    assert len(server.posts) == 2


def test_prepared_requests_are_sent_as_they_are():
    with RawServer([GOOD]) as server:
        backend = service_backend(server.url)
        requests = [ask("s0"), ask("s1", text="And now?")]
        prepared = backend.prepare(requests)
        assert server.received == []
        backend.generate(requests, prepared)
        backend.close()
    asked = [post.value["messages"][0]["content"][1]["text"] for post in server.posts]
    assert sorted(asked) == ["And now?", QUESTION]


def test_nothing_is_left_to_do_when_prepared_requests_are_sent(monkeypatch):
    with RawServer([STREAM]) as server:
        settings = service_settings(server.url, timeout_s=5.0)
        backend = make_backend(settings, 0, ServiceDevice(), measuring=True)
        prepared = backend.prepare([ask()])
        [body] = prepared
        assert isinstance(body, bytes)
        with monkeypatch.context() as patch:
            patch.setattr(orjson, "dumps", None)
            [response] = backend.generate([ask()], prepared)
        backend.close()
    assert response.timing.stream is not None
    assert server.posts[0].body == body


def test_who_waits_for_pieces_gets_them_of_prepared_requests_too():
    told = []
    with RawServer([STREAM]) as server:
        backend = service_backend(server.url, timeout_s=5.0)
        prepared = backend.prepare([ask()])
        backend.generate([ask()], prepared, on_text=lambda *piece: told.append(piece))
        backend.close()
    assert told == [(0, "C:"), (0, " "), (0, "Cough")]
    assert server.posts[0].value["stream"] is True


def test_clips_of_a_round_can_be_removed_before_the_next(tmp_path):
    request = {"media": "file", "media_folder": str(tmp_path)}
    backend = service_backend("http://127.0.0.1:9", request=request)
    backend.prepare([ask(), ask(clips=(clip(seed=1 << 250),))])  # a name is half of a hash
    assert len(list(tmp_path.iterdir())) == 2
    backend.drop_clips()
    assert list(tmp_path.iterdir()) == []
    backend.prepare([ask()])
    assert len(list(tmp_path.iterdir())) == 1
    backend.close()
    assert list(tmp_path.iterdir()) == []


def test_identity_and_facts_tell_who_answers_and_hold_no_key(monkeypatch):
    monkeypatch.setenv("THE_KEY", "sk-canary-123")
    with RawServer([GOOD]) as server:
        backend = service_backend(server.url + "/v1/", api_key_env="THE_KEY")
        identity = dict(backend.identity(False))
        backend.load()
        facts = dict(backend.facts())
        backend.close()
        gets = [request.path for request in server.received]
    assert gets == ["/health", "/v1/models", "/version"]  # asked once
    assert identity["base_url"] == server.url
    assert identity["generation"] == {"temperature": 0, "repetition_penalty": 1.0, "seed": 0}
    assert (identity["version"], identity["route"]) == ("1.2.3", "/v1/chat/completions")
    assert (facts["served_models"], facts["version"], facts["num_retries"]) == (["m"], "1.2.3", 0)
    assert "sk-canary-123" not in repr((identity, facts, backend.__dict__))
    assert server.received[0].headers["authorization"] == "Bearer sk-canary-123"
    assert server.received[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("gets", "said"),
    [
        (
            {"/health": (answer({"message": "no"}, "500 No"), KEEP)},
            "/health answers status 500: no",
        ),
        ({"/health": (answer(b"", "503 No"), KEEP)}, "/health answers status 503;"),
        ({"/health": (HOLD,)}, "no whole answer within 0.8 s"),
        ({"/health": ()}, "no answer"),
        ({"/health": (answer(b"", "302 Away"), KEEP)}, "/health answers status 302"),
        ({"/v1/models": (answer(b"{oops"), KEEP)}, "the reply is not JSON"),
        ({"/v1/models": (answer([]), KEEP)}, "no list of models"),
        ({"/v1/models": (answer({"data": []}), KEEP)}, "serves no model, not m"),
        ({"/v1/models": (answer({"data": [{"id": "x"}, 3]}), KEEP)}, "serves x, not m"),
        ({"/health": (answer({}, "401 No"), KEEP)}, "wants a key"),
        (
            {path: (answer({}, "404 No"), KEEP) for path in DEFAULT_GETS},
            "has none of the routes /health, /v1/models",
        ),
    ],
)
def test_a_service_that_is_not_well_is_refused_before_the_run(gets, said):
    with RawServer(gets={**DEFAULT_GETS, **gets}) as server:
        backend = service_backend(server.url)
        start_s = time.monotonic()
        with pytest.raises(ModelError) as caught:
            backend.load()
        backend.close()
    assert said in str(caught.value)
    assert str(caught.value).startswith(server.url)
    assert time.monotonic() - start_s < 1.8


def test_routes_that_are_not_there_are_passed_over():
    absent = (answer({}, "404 No"), KEEP)
    for path in ("/health", "/v1/models", "/version"):
        with RawServer(gets={**DEFAULT_GETS, path: absent}) as server:
            backend = service_backend(server.url)
            backend.load()
            backend.close()
            assert path in [request.path for request in server.received]


def test_a_service_takes_no_raw_prompt_and_no_more_than_it_should():
    backend = service_backend("http://127.0.0.1:9", max_concurrency=2)
    with pytest.raises(ModelError, match="prompt_format=chat"):
        backend.render(Prompt("{audio}x", "raw"), 1)
    with pytest.raises(UsageError, match="max_concurrency is 2"):
        backend.generate([ask(f"s{number}") for number in range(3)])
    with pytest.raises(UsageError, match="leave --stop-at-answer out"):
        backend.prepare([ask(stop_pattern="C")])
    with pytest.raises(UsageError, match="counts its tokens itself"):
        backend.num_input_tokens(ask())
    backend.close()
    with pytest.raises(UsageError, match="cannot go on behind the end token"):
        service_backend("http://127.0.0.1:9", service="openai").prepare([ask(ignore_eos=True)])


def test_the_dialogue_is_shown_as_it_is_sent():
    backend = service_backend("http://127.0.0.1:9")
    prompt = Prompt("And?", "chat", (Turn("What?", 1, "A cough."),))
    assert backend.render(prompt, 2) == "user: {audio}What?\nassistant: A cough.\nuser: {audio}And?"
    assert backend.render(Prompt("What?", "chat"), 2) == "{audio}{audio}What?"
    backend.close()


def test_a_clip_in_a_shared_folder_is_named_and_removed(tmp_path):
    with RawServer([GOOD]) as server:
        request = {"media": "file", "media_folder": str(tmp_path)}
        settings = service_settings(server.url, request=request)
        check_model(settings, "m.yaml")
        backend = make_backend(settings, 0, ServiceDevice())
        backend.generate([ask()])
        [file] = tmp_path.iterdir()
        backend.close()
    part = server.posts[0].value["messages"][0]["content"][0]
    assert part["audio_url"]["url"] == f"file://{file}"
    assert not file.exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": None}, "m.yaml: key 'model': is missing"),
        ({"service": "openai", "base_url": None}, "key 'base_url': is missing"),
        ({"batch_size": 17}, "key 'batch_size': 17 requests at a time (--bs), and max_concurrency"),
        ({"backend": "generate", "service": "openai"}, "openai has no /generate"),
        ({"request": {"form": "tgi"}}, "tgi is a form of /generate"),
        (
            {
                "backend": "generate",
                "service": "mindie",
                "request": {"form": "tgi", "stream": True},
            },
            "are not streamed",
        ),
        ({"request": {"media": "file"}}, "'request.media_folder': is missing"),
        ({"request": {"media_url": "http://x"}}, "'request.media_url': is not for media: data"),
        ({"request": {"media": "http", "media_folder": "/tmp"}}, "'request.media_url': is missing"),
        ({"request": {"media": "file", "media_folder": "tmp"}}, "full path"),
        ({"request": {"media": "file", "media_folder": "/nowhere/x"}}, "there is no such folder"),
        (
            {"service": "mindie", "request": {"media": "file", "media_folder": "/tmp"}},
            "MindIE reads local files below /data/multimodal_inputs only",
        ),
        (
            {"request": {"media": "file", "media_folder": "/tmp", "audio_part": "input_audio"}},
            "input_audio carries its clip",
        ),
        ({"api_key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY is not set"),
    ],
)
def test_what_does_not_go_together_names_its_key(settings, said):
    chosen = {
        "backend": "openai",
        "service": "vllm",
        "model": "m",
        "base_url": "http://h",
        **settings,
    }
    with pytest.raises(ModelError) as caught:
        check_model(ModelSettings.model_validate(chosen), "m.yaml")
    assert said in str(caught.value)


def test_presets_know_their_ports():
    for backend, service, port in (
        ("openai", "mindie", 1025), ("generate", None, 1025), ("openai", "vllm", 8000)
    ):  # fmt: skip
        chosen = service_settings("http://h", backend, service=service)
        made = make_backend(chosen.model_copy(update={"base_url": None}), 0, ServiceDevice())
        assert made.facts()["base_url"] == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("url", "settings", "num"),
    [
        ("http://127.0.0.1:1", {}, 0),
        ("http://[::1]:1", {}, 0),
        ("http://localhost:1", {}, 0),
        ("http://localhost.example.org", {}, 1),
        ("http://10.0.0.1", {}, 1),
        ("https://10.0.0.1", {}, 0),
        ("https://10.0.0.1", {"verify": False}, 1),
    ],
)
def test_what_is_not_safe_is_told(url, settings, num):
    assert len(model_warnings(service_settings(url, **settings))) == num


def test_a_service_has_no_device_of_this_host():
    settings = service_settings("http://h")
    choice = choose_for(settings, "auto")
    device = make_device(choice)
    assert (choice.kind, device.label, device.is_host) == ("service", "SERVICE", False)
    with pytest.raises(UsageError, match="leave it out"):
        choose_for(settings, "cpu")
    assert choose_for(ModelSettings(backend="null"), "cpu") == Choice("cpu", "asked for")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("120", 120), (" 7 ", 7), ("", None), ("-1", None), ("1.5", None), ("nan", None),
        ("9" * 400, 999_999_999), ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0), ("Thu, 99 Jan 2026", None), ("\u0665", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(text, seconds):
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert retry_after_s(text, now) == seconds


def test_sixteen_requests_are_in_flight_at_once():
    with RawServer([[0.3, answer(REPLY), KEEP]]) as server:
        backend = service_backend(server.url, timeout_s=5.0)
        requests = [Request(f"s{n}", (clip(),), ask().prompt, ask().generation) for n in range(16)]
        start_s = time.monotonic()
        responses = backend.generate(requests)
        elapsed_s = time.monotonic() - start_s
        backend.close()
    assert [response.sample_id for response in responses] == [r.sample_id for r in requests]
    assert elapsed_s < 1.5  # one after the other they would take 4.8 s


def test_check_shows_whether_a_service_is_well(tmp_path, capsys):
    from modeltest.cli.check import _model
    from modeltest.cli.findings import show

    with RawServer() as server:
        (tmp_path / "served.yaml").write_text(
            f"backend: openai\nservice: vllm\nmodel: m\nbase_url: {server.url}\nverify: false\n"
        )
        options = argparse.Namespace(
            model=str(tmp_path / "served.yaml"), overrides=[], config_dir=None
        )
        assert show(_model(options)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "! model         " in lines[1]
    assert lines[2] == f"✓ service       {server.url} serves m, version 1.2.3"
