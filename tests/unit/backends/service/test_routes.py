"""Requests and replies of both routes against what the services document."""

import json
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_settings import QUESTION, ask, clip, service_settings

from modeltest.backends.service.failures import AskError, error_text
from modeltest.backends.service.generate_route import ChunkStream, GenerateRoute
from modeltest.backends.service.openai_route import ChatStream, OpenAiRoute
from modeltest.backends.service.presets import sampling_of, wire_of
from modeltest.backends.service.reply import Reply, json_value
from modeltest.errors import ModelError
from modeltest.records import Turn


def openai(**settings):
    chosen = service_settings("http://127.0.0.1:1", **settings)
    return OpenAiRoute(wire_of(chosen), "m", sampling_of(chosen, 0))


def generate(**settings):
    chosen = service_settings("http://127.0.0.1:1", "generate", **settings)
    return GenerateRoute(wire_of(chosen), "m", sampling_of(chosen, 0))


def test_a_question_about_a_clip_asks_vllm_greedily():
    assert openai().body(ask(), ["URL"]) == {
        "model": "m",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "audio_url", "audio_url": {"url": "URL"}},
                    {"type": "text", "text": QUESTION},
                ],
            }
        ],
        "max_tokens": 8,
        "temperature": 0,
        "repetition_penalty": 1.0,
        "seed": 0,
    }


def test_a_dialogue_gives_each_turn_its_clips():
    turns = (Turn("First?", 2, "One."), Turn("And?", 0, "Two."))
    body = openai(service="openai").body(ask(text="Now?", turns=turns), ["a", "b", "c"])
    said = [
        (m["role"], [p.get("text") or p["input_audio"]["data"] for p in m["content"]])
        if isinstance(m["content"], list)
        else (m["role"], m["content"])
        for m in body["messages"]
    ]
    assert said == [
        ("user", ["a", "b", "First?"]),
        ("assistant", "One."),
        ("user", ["And?"]),
        ("assistant", "Two."),
        ("user", ["c", "Now?"]),
    ]


def test_only_who_has_to_be_asked_for_usage_is():
    with_usage = {"stream": True, "stream_options": {"include_usage": True}}
    assert openai().streaming(True) == with_usage
    assert openai().streaming(False) == {"stream": False}
    assert openai(service="mindie").streaming(True) == {"stream": True}


def test_the_seed_documents_request_for_generate():
    """MindIE's README: parts, do_sample, no temperature of 0 below TGI."""
    body = generate().body(ask(), ["data:audio/x-wav;base64,AA=="])
    assert body == {
        "model": "m",
        "prompt": [
            {"type": "audio_url", "audio_url": {"url": "data:audio/x-wav;base64,AA=="}},
            {"type": "text", "text": QUESTION},
        ],
        "max_tokens": 8,
        "temperature": 0,
        "do_sample": False,
        "repetition_penalty": 1.0,
    }


def test_the_tgi_form():
    body = generate(request={"form": "tgi"}).body(ask(ignore_eos=True), ["URL"])
    assert set(body) == {"inputs", "parameters"}
    assert body["parameters"] == {
        "max_new_tokens": 8,
        "details": True,
        "do_sample": False,
        "repetition_penalty": 1.0,
        "ignore_eos": True,
    }


def test_generate_takes_no_dialogue():
    with pytest.raises(ModelError, match="use backend: openai"):
        generate().body(ask(turns=(Turn("?", 0, "!"),)), ["URL"])


def chat_reply(**message):
    return {"choices": [{"message": {"content": "C", **message}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, (None, None, None)),
        ({"prompt_tokens": 70, "completion_tokens": 4}, (70, None, 4)),
        (
            {
                "prompt_tokens": 70,
                "completion_tokens": 4,
                "prompt_tokens_details": {"audio_tokens": 30},
            },
            (70, 30, 4),
        ),
        ({"prompt_tokens": -1, "completion_tokens": True}, (None, None, None)),
        ({"prompt_tokens": "70", "completion_tokens": 4.0}, (None, None, None)),
        ({"prompt_tokens": 10**30}, (None, None, None)),
        ([], (None, None, None)),
    ],
)
def test_tokens_are_the_services_count_or_unknown(usage, counts):
    reply = openai().read({**chat_reply(), "usage": usage}, ask())
    assert (reply.input_tokens, reply.audio_tokens, reply.output_tokens) == counts


def test_an_empty_reply_is_a_reply():
    assert openai().read(chat_reply(content=None), ask()) == Reply("", "stop")
    assert openai().read(chat_reply(content=""), ask()) == Reply("", "stop")


def test_content_that_is_no_text_is_an_error():
    with pytest.raises(AskError, match="no text"):
        openai().read(chat_reply(content=[{"text": "C"}]), ask())


@pytest.mark.parametrize("length", [None, "length"])
def test_the_finish_reason_is_kept_or_missed(length):
    value = {"choices": [{"message": {"content": "C"}, "finish_reason": length}]}
    if length:
        assert openai().read(value, ask()).finish_reason == "length"
    else:
        with pytest.raises(AskError, match="no finish reason"):
            openai().read(value, ask())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{QUESTION} C: Cough", "C: Cough"),
        (f"{QUESTION}  C", " C"),
        (f"{QUESTION} ", ""),
        ("C: Cough", "C: Cough"),
        (f"{QUESTION}C", f"{QUESTION}C"),
        (f" {QUESTION} C", f" {QUESTION} C"),
        (f"{QUESTION} {QUESTION} C", f"{QUESTION} C"),
    ],
)
def test_the_prompt_is_stripped_only_where_it_stands(text, expected):
    assert generate().read({"text": [text]}, ask()).text == expected


@pytest.mark.parametrize(
    ("value", "reply"),
    [
        ({"generated_text": "C"}, Reply("C")),
        ([{"generated_text": "C"}], Reply("C")),
        (
            {
                "generated_text": "C",
                "details": {"finish_reason": "eos_token", "generated_tokens": 2},
            },
            Reply("C", "stop", output_tokens=2),
        ),
        (
            {"generated_text": "C", "details": {"finish_reason": "length"}},
            Reply("C", "length"),
        ),
    ],
)
def test_tgi_replies(value, reply):
    assert generate(request={"form": "tgi"}).read(value, ask()) == reply


@pytest.mark.parametrize("reason", [["stop"], {}, "error", 3])
def test_a_reply_that_ended_otherwise_is_an_error(reason):
    chat = {"choices": [{"message": {"content": "C"}, "finish_reason": reason}]}
    with pytest.raises(AskError, match="finish reason"):
        openai().read(chat, ask())
    with pytest.raises(AskError, match="finish reason"):
        generate().read({"generated_text": "C", "details": {"finish_reason": reason}}, ask())


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "message", "content", "finish_reason", "usage", "text", "delta", "error",
             "generated_text", "details", "prompt_tokens"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(ANYTHING)
def test_whatever_a_service_says_is_a_reply_or_an_error(value):
    octets = json.dumps(value).encode()
    for route, ending in ((openai(), b"\n\n"), (generate(), b"\0")):
        before = b"data: " if ending == b"\n\n" else b""
        stream = route.new_stream()
        steps = (
            partial(route.read, value, ask()),
            partial(stream.feed, before + octets + ending),
            stream.end,
        )
        for step in steps:
            with suppress(AskError):  # any other exception fails the test
                assert step() is not None


CHAT = (
    b": a comment\r\n\r\n"
    b'data: {"choices": [{"delta": {"role": "assistant"}}]}\n\n'
    b'event: x\ndata:{"choices": [{"delta": {"content": "H\xc3\xa4"}}]}\r\n\r\n'
    b'data: {"choices":\ndata: [{"delta": {"content": "!"}, "finish_reason": "length"}]}\n\n'
    b'data: {"choices": [], "usage": {"completion_tokens": 2}}\n\n'
    b"data: [DONE]\n\ndata: {oops\n\n"
)
NULS = b'{"text": ["H\xc3\xa4"]}\0 {"text": [""]}\0{"text": ["!"]}\0'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096])
def test_a_stream_is_the_same_however_it_is_cut(size):
    chat, nuls = ChatStream(), ChunkStream()
    found, parts = [], []
    for start in range(0, len(CHAT), size):
        found += chat.feed(CHAT[start : start + size])
    for start in range(0, len(NULS), size):
        parts += nuls.feed(NULS[start : start + size])
    assert found == parts == ["Hä", "!"]
    assert chat.is_done
    assert chat.end() == Reply("Hä!", "length", output_tokens=2)
    assert nuls.end() == Reply("Hä!")


def end_of_stream(stream, octets):
    """The reply, or None where the stream's end is an error."""
    stream.feed(octets)
    try:
        return stream.end()
    except AskError:
        return None


def test_a_chat_stream_cut_anywhere_is_an_error_or_the_whole_reply():
    finished = CHAT.index(b'"length"}]}') + len(b'"length"}]}')
    usage = CHAT.index(b'{"choices": [], '), CHAT.index(b"\n\ndata: [DONE]")
    done = CHAT.index(b"[DONE]"), CHAT.index(b"[DONE]") + len(b"[DONE]")
    inside = {cut for start, end in (usage, done) for cut in range(start - len(b" "), end)}
    for cut in range(len(CHAT) + 1):
        expected = None
        if cut >= finished and cut not in inside:
            expected = Reply("Hä!", "length", output_tokens=2 if cut >= usage[1] else None)
        assert end_of_stream(ChatStream(), CHAT[:cut]) == expected, CHAT[:cut]


def test_a_generate_stream_is_a_reply_only_where_a_chunk_has_its_nul():
    """At such a place the JSON tells no cut: the body's framing does."""
    first, second = (place + 1 for place, byte in enumerate(NULS[:-1]) if byte == 0)
    replies = {cut: Reply("Hä") for cut in (first, first + len(b" "), second)}
    replies[len(NULS)] = Reply("Hä!")
    for cut in range(len(NULS) + 1):
        assert end_of_stream(ChunkStream(), NULS[:cut]) == replies.get(cut), NULS[:cut]


def test_a_streams_last_event_needs_no_empty_line():
    stream = ChatStream()
    stream.feed(b'data: {"choices": [{"delta": {"content": "C"}}]}\n\n')
    stream.feed(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}')
    assert stream.end() == Reply("C", "stop")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "a", "type": "b"}}', "a"),
        (b'{"object": "error", "message": "a", "code": 400}', "a"),
        (b'{"error": "a", "error_type": "b"}', "b: a"),
        (b'{"message": "a"}', "a"),
        (b'{"detail": [{"loc": ["body"]}]}', "[{'loc': ['body']}]"),
        (b"plain", "plain"),
        (b"", ""),
        (b'{"error": {}}', '{"error": {}}'),
        (b"[" * 100_000, "[" * 299 + "…"),
        ("a\u202eb\x1b]0;x\x07".encode(), "a\\u202eb\\x1b]0;x\\x07"),
    ],
)
def test_error_bodies_are_read_whichever_shape_they_have(body, said):
    assert error_text(body) == said


def test_a_long_error_is_shortened():
    assert len(error_text(b'{"error": "' + b"x" * 100_000 + b'"}')) == 300


def test_json_is_read_to_the_letter():
    assert json_value(b'{"a": 1}') == {"a": 1}
    for body in (b"", b"NaN", b'{"a": 1, "a": 2}', b"\xff", b"[" * 200_000, b"9" * 5000):
        with pytest.raises(AskError):
            json_value(body)


def test_clips_go_where_the_preset_says():
    assert openai(service="mindie").wire.audio_subtype == "x-wav"
    assert openai(service="vllm").wire.audio_subtype == "wav"
    assert openai(service="openai").wire.audio_part == "input_audio"
    assert clip().duration_s == 0.1
