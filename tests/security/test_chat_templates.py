"""A checkpoint's chat template cannot reach Python, hang the command or fill the memory."""

import json
import os
import signal
import time

import pytest

from modeltest.backends.transformers import chat_template, inputs
from modeltest.errors import ModelError
from modeltest.records import Prompt

PROMPT = Prompt("What sound?", "chat")
GADGETS = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}",
    "{{ lipsum.__globals__['os'].popen('touch CANARY').read() }}",
    "{{ joiner.__init__.__globals__.__builtins__.open('CANARY', 'w') }}",
    "{{ raise_exception.__globals__['sys'].modules['os'].system('touch CANARY') }}",
    "{{ (''|attr('__class__')).__mro__ }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ ('{0.__class__.__mro__}'|attr('format'))('') }}",
    "{{ ['{0.__class__.__mro__}']|map('format', '')|list }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ messages.append.__self__.__class__.__base__ }}",
    "{{ messages.clear() }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
    "{{ self.__init__.__globals__ }}",
    "{{ (messages|list).__reduce_ex__(2)[0].__globals__ }}",
]
BOMBS = {
    "a loop": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a power": "{{ 10 ** (10 ** 10) }}",
    "a long text": "{{ 'a' * 10 ** 10 }}",
    "two megabytes": "{{ 'a' * 2000000 }}",
    "much memory": "<|AUDIO|>{{ (messages[0].role * 175000000)|length }}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "deep brackets": "{{ " + "(" * 20_000 + ")" * 20_000 + " }}",
    "a long chain": "{{ 1" + " + 1" * 200_000 + " }}",
}
BROKEN = [
    "{{",
    "{% for %}",
    "{{ missing.attribute }}",
    "{{ 1 / 0 }}",
    "{{ raise_exception('no') }}",
]


@pytest.fixture(scope="module")
def processor(tiny_model):
    import transformers

    return transformers.AutoProcessor.from_pretrained(tiny_model, local_files_only=True)


@pytest.fixture
def render(processor, monkeypatch):
    def with_template(template):
        monkeypatch.setattr(processor, "chat_template", template)
        return inputs.render(processor, PROMPT, 1)

    return with_template


def refusal(render, template) -> str:
    with pytest.raises(ModelError, match="chat template cannot be rendered") as caught:
        render(template)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 400
    return message


def test_a_harmless_template_is_rendered(render):
    template = "{{ messages[0].role }}: <|AUDIO|>{{ messages[0].content[1].text }} ✓"
    assert render(template) == "user: <|AUDIO|>What sound? ✓"


@pytest.mark.parametrize("gadget", GADGETS)
def test_gadgets_reach_nothing(render, tmp_path, monkeypatch, gadget):
    monkeypatch.chdir(tmp_path)
    try:
        text = render(f"<|AUDIO|>{gadget}")
    except ModelError as error:
        text = str(error)
        assert len(text.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    assert not any(word in text for word in ("<class", "<module", "<built-in", "root:"))


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_a_second_and_one_line(render, monkeypatch, name):
    monkeypatch.setattr(chat_template, "MAX_SECONDS", 1.0)
    start_s = time.monotonic()
    refusal(render, BOMBS[name])
    assert time.monotonic() - start_s < 5


def test_the_limit_is_seconds_not_minutes():
    assert chat_template.MAX_SECONDS <= 10


@pytest.mark.parametrize("template", BROKEN)
def test_broken_templates_are_one_line(render, template):
    refusal(render, template)


def test_a_template_cannot_forge_lines(render):
    assert "\\x1b" in refusal(render, "{{ raise_exception('a\x1b[2J\nmodeltest: fine') }}")


def test_a_child_that_dies_is_one_line():
    with pytest.raises(ModelError, match="ended without a text"):
        chat_template.render_bounded(lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_the_command_refuses_a_gadget_in_one_line(command, own_model, tmp_path):
    (own_model / "chat_template.json").write_text(json.dumps({"chat_template": GADGETS[1]}))
    done = command(
        "eval", "vocalsound_mini", "qwen2_audio_tiny", "--limit", "1", "--dry-run",
        "--set", f"model_path={own_model}", "--set", "prompt_format=chat",
    )  # fmt: skip
    assert "chat template" in done.one_line_error()
    assert "os.system" not in done.seen
    assert not (tmp_path / "CANARY").exists()
