"""What a request's body means, in both forms, and what is refused."""

import json

import pytest

from modeltest.records import Generation, Prompt, Response, Turn
from modeltest.service.content import ClipReference
from modeltest.service.generate_messages import GenerateForm
from modeltest.service.openai_messages import ChatForm
from modeltest.service.refusals import Refusal

CHAT, GENERATE = ChatForm(), GenerateForm()
CLIP = {"type": "audio_url", "audio_url": "/data/a.wav"}
TEXT = {"type": "text", "text": "What did the speaker say in the audio?"}
# The bodies of the two commands in the README of MindIE's Qwen2-Audio.
CHAT_BODY = """{
      "model": "qwen2_audio",
      "messages": [{
          "role": "user",
          "content": [
                      {"type": "audio_url", "audio_url": "/data/a.wav"},
                      {"type": "text", "text": "What did the speaker say in the audio?"}
                  ]
      }],
      "max_tokens": 512,
      "stream": false
  }"""
GENERATE_BODY = """{
      "prompt": [
          {"type": "audio_url", "audio_url": "/data/a.wav"},
          {"type": "text", "text": "What did the speaker say in the audio?"}
      ],
      "max_tokens": 512,
      "do_sample": false,
      "stream": false,
      "model": "qwen2_audio"
  }"""


def chat(*messages, **fields):
    body = {"messages": [{"role": r, "content": c} for r, c in messages], **fields}
    return CHAT.read(json.dumps(body).encode(), 1000)


def generate(**fields):
    return GENERATE.read(json.dumps(fields).encode(), 1000)


@pytest.mark.parametrize(("form", "body"), [(CHAT, CHAT_BODY), (GENERATE, GENERATE_BODY)])
def test_mindies_two_commands_ask_the_same(form, body):
    question = form.read(body.encode(), 1000)
    assert question.model == "qwen2_audio"
    assert question.clips == (ClipReference("clip 1", address="/data/a.wav"),)
    assert question.prompt == Prompt("What did the speaker say in the audio?", "chat")
    assert question.generation == Generation(512)
    assert not question.stream


@pytest.mark.parametrize(
    ("part", "clip"),
    [
        (CLIP, ClipReference("clip 1", address="/data/a.wav")),
        (
            {"type": "audio_url", "audio_url": {"url": "http://h/a.wav", "detail": 1}},
            ClipReference("clip 1", address="http://h/a.wav"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            ClipReference("clip 1", encoded="AAAA"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA"}},
            ClipReference("clip 1", encoded="AAAA"),
        ),
    ],
)
def test_a_clip_can_be_given_in_three_ways(part, clip):
    assert chat(("user", [part, TEXT])).clips == (clip,)
    assert generate(prompt=[part, TEXT]).clips == (clip,)


def test_clips_come_before_the_texts_which_are_lines():
    other = {"type": "audio_url", "audio_url": "/b"}
    content = [{"type": "text", "text": "a"}, CLIP, {"type": "text", "text": "b"}, other]
    for question in (chat(("user", content)), generate(prompt=content)):
        assert question.prompt.text == "a\nb"
        assert [clip.address for clip in question.clips] == ["/data/a.wav", "/b"]
        assert [clip.name for clip in question.clips] == ["clip 1", "clip 2"]


def test_a_dialogue_becomes_turns_with_their_clips():
    question = chat(
        ("system", "Be short."),
        ("user", [CLIP, {"type": "text", "text": "first"}]),
        ("assistant", "one"),
        ("user", "second"),
        ("assistant", [{"type": "text", "text": "two"}]),
        ("user", [CLIP]),
        ("user", "third"),
    )
    turns = (Turn("Be short.\n\nfirst", 1, "one"), Turn("second", 0, "two"))
    assert question.prompt == Prompt("third", "chat", turns)
    assert len(question.clips) == 2


def test_what_the_system_says_goes_before_an_only_question():
    assert chat(("developer", "x"), ("user", [CLIP, TEXT])).prompt.text == f"x\n\n{TEXT['text']}"


@pytest.mark.parametrize(
    ("fields", "longest"),
    [
        ({}, 512),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 7, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 1000}, 1000),
    ],
)
def test_the_longest_reply(fields, longest):
    assert chat(("user", [CLIP]), **fields).generation == Generation(longest)


def test_what_changes_nothing_is_accepted():
    assert chat(
        ("user", [CLIP]), temperature=0, n=1, stop=[], seed=4, top_p=0.5, logprobs=False, user="u",
        stream=True, stream_options={"include_usage": True}, ignore_eos=True, unknown={"a": []},
    ).generation == Generation(512, ignore_eos=True)  # fmt: skip
    assert generate(
        prompt=[CLIP], temperature=0.0, do_sample=False, repetition_penalty=1.0, top_k=1
    ).generation == Generation(512)


def test_a_request_in_tgis_form():
    settings = {"max_new_tokens": 5, "do_sample": False, "ignore_eos": True, "details": True}
    question = generate(inputs=[CLIP, TEXT], parameters=settings)
    assert question.is_tgi
    assert question.generation == Generation(5, ignore_eos=True)
    assert GENERATE.whole(question, Response("id", "x", output_tokens=2), "m") == {
        "generated_text": "x",
        "details": {"finish_reason": "eos_token", "generated_tokens": 2},
    }


USER = ("user", [CLIP])
REFUSED_CHATS = [
    ([USER], {"max_tokens": 1001}, "more than 1000"),
    ([USER], {"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
    ([USER], {"max_tokens": "5"}, "max_tokens: Input should be a valid integer"),
    ([USER], {"max_tokens": True}, "max_tokens: Input should be a valid integer"),
    ([USER], {"stream": "yes"}, "stream: Input should be a valid boolean"),
    ([USER], {"model": 5}, "model: Input should be a valid string"),
    ([USER], {"temperature": 0.7}, "temperature: replies are greedy; send 0 or leave it out"),
    ([USER], {"n": 2}, "n: replies are greedy"),
    ([USER], {"stop": ["x"]}, "stop: replies are greedy"),
    ([USER], {"frequency_penalty": 1}, "frequency_penalty: "),
    (
        [("user", [{}] * 300)],
        {},
        "messages.0.content.parts: Value error, has 300 items; at most 256",
    ),
    ([USER] * 300, {}, "messages: Value error, has 300 items; at most 256"),
    ([], {}, "messages: List should have at least 1 item"),
    ([("user", "only text")], {}, "no clip"),
    ([("user", [CLIP] * 21)], {}, "21 clips; at most 20"),
    ([("user", [CLIP, {"type": "text", "text": "x" * 262_145}])], {}, "262145 characters"),
    ([("user", [{"type": "image_url", "image_url": "x"}])], {}, "image_url"),
    ([("user", [{"type": "text"}])], {}, "text.text: Field required"),
    ([("user", None)], {}, "messages.0.content"),
    ([("tool", "x")], {}, "messages.0.role"),
    ([USER, ("assistant", "x")], {}, "the last one must be the user's"),
    ([("assistant", "x"), USER], {}, "messages.0: the assistant replies to nothing"),
    ([USER, ("system", "x")], {}, "messages.1: system goes before all others"),
    ([("system", [CLIP]), USER], {}, "messages.0: only the user's messages may have clips"),
    ([USER, ("assistant", [CLIP]), USER], {}, "messages.1: only the user's"),
]


@pytest.mark.parametrize(("messages", "fields", "words"), REFUSED_CHATS)
def test_chats_that_are_refused(messages, fields, words):
    with pytest.raises(Refusal) as caught:
        chat(*messages, **fields)
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert CHAT.status(caught.value) == 400
    assert CHAT.refused(caught.value) == {
        "error": {
            "message": caught.value.message, "type": "BadRequestError", "param": None, "code": 400,
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "send prompt (vLLM's form) or inputs (TGI's form), one of them"),
        ({"prompt": [CLIP], "inputs": [CLIP]}, "one of them"),
        ({"prompt": "text"}, "no clip"),
        ({"prompt": [CLIP], "do_sample": True}, "do_sample: replies are greedy; send false"),
        ({"prompt": [CLIP], "temperature": 1}, "temperature"),
        ({"inputs": [CLIP], "parameters": {"do_sample": True}}, "do_sample"),
        ({"inputs": [CLIP], "stream": True}, "stream: works with prompt"),
        ({"prompt": [CLIP], "max_tokens": 2000}, "more than 1000"),
    ],
)
def test_generate_bodies_that_are_refused(fields, words):
    with pytest.raises(Refusal) as caught:
        generate(**fields)
    assert words in caught.value.message
    assert GENERATE.status(caught.value) == 422
    assert GENERATE.refused(caught.value) == {
        "error": caught.value.message,
        "error_type": "Input Validation Error",
    }


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"3", b"\xff", b'"x"', b"[" * 100_000, b'{"prompt": "\\ud800"}',
        b'{"max_tokens": ' + b"9" * 5000 + b"}", b'{"max_tokens": NaN}', b"\0",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", [CHAT, GENERATE])
def test_bodies_that_are_no_request(form, body):
    with pytest.raises(Refusal) as caught:
        form.read(body, 1000)
    assert caught.value.status == 422
    assert len(caught.value.message) < 1000


RESPONSE = Response("id", "Yes.", input_tokens=5, output_tokens=2, finish_reason="stop")


def test_a_whole_chat_reply():
    reply = CHAT.whole(chat(USER), RESPONSE, "m")
    assert reply.pop("created") > 1_600_000_000
    assert reply == {
        "id": "id",
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Yes."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }


@pytest.mark.parametrize(
    ("ours", "theirs"), [("stop", "stop"), ("answer", "stop"), ("length", "length")]
)
def test_finish_reasons(ours, theirs):
    response = Response("id", "x", finish_reason=ours)
    assert CHAT.whole(chat(USER), response, "m")["choices"][0]["finish_reason"] == theirs


def test_counts_that_nobody_knows_are_left_open():
    assert CHAT.whole(chat(USER), Response("id", "x"), "m")["usage"] is None


def test_generate_repeats_the_first_text_as_mindie_does():
    prompt = [CLIP, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert GENERATE.whole(generate(prompt=prompt), RESPONSE, "m") == {"text": ["a Yes."]}
    assert GENERATE.whole(generate(prompt=[CLIP]), RESPONSE, "m") == {"text": ["Yes."]}
    assert GENERATE.whole(generate(inputs=prompt), RESPONSE, "m") == {"generated_text": "Yes."}


@pytest.mark.parametrize(
    ("status", "kind", "plain", "openai"),
    [
        (400, "Bad Request", 400, "BadRequestError"),
        (401, "Unauthorized", 401, "AuthenticationError"),
        (404, "NotFoundError", 404, "NotFoundError"),
        (422, "Input Validation Error", 400, "BadRequestError"),
        (424, "Generation Error", 500, "InternalServerError"),
        (503, "Service Unavailable", 503, "ServiceUnavailableError"),
    ],
)
def test_error_forms(status, kind, plain, openai):
    refusal = Refusal(status, "why")
    assert GENERATE.refused(refusal) == {"error": "why", "error_type": kind}
    assert GENERATE.status(refusal) == status
    assert CHAT.refused(refusal)["error"]["type"] == openai
    assert CHAT.refused(refusal)["error"]["code"] == CHAT.status(refusal) == plain
