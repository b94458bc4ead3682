"""`modeltest chat` on backends that answer by script, in this process."""

import io
import os
import signal

import pytest

from modeltest.backends.null import NullBackend
from modeltest.cli.main import main
from modeltest.errors import DeviceError
from modeltest.records import Response, Timing, Turn


class Scripted(NullBackend):
    """Tells the pieces of each answer, and their tokens, by script; keeps what it was asked."""

    def __init__(self, device, script, counts):
        super().__init__(device)
        self.script = list(script)
        self.counts = list(counts)
        self.asked = []

    def num_input_tokens(self, request):
        return 10 * len(request.audio) + len(request.prompt.text.split())

    def generate(self, requests, prepared=None, on_text=None):
        [request] = requests
        self.asked.append(request)
        step = self.script.pop(0) if self.script else ["fine"]
        if callable(step):
            step = step(on_text)
        if on_text:
            for piece in step:
                on_text(0, piece)
        count = self.counts.pop(0) if self.counts else 3
        return [Response(request.sample_id, "".join(step), "", 1, count, "stop", Timing(0.1))]


@pytest.fixture
def chat(monkeypatch, tmp_path, clips, capsys):
    """`modeltest chat` with a script of answers and lines of input."""

    def run(*arguments, script=(), counts=(), lines="", audio=("f0001_0_cough.wav",)):
        made = []

        def make(_settings, _seed, device):
            made.append(Scripted(device, script, counts))
            return made[0]

        monkeypatch.setattr("modeltest.backends.factory.make_backend", make)
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        monkeypatch.chdir(clips)
        code = main(["chat", "null", "--audio", *audio, *arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err, made[0].asked if made else []

    return run


def shas(request):
    return [clip.sha256 for clip in request.audio]


def test_one_question_about_all_clips_has_one_answer(chat):
    code, out, err, [request] = chat(
        "--text", "Same?", script=[["Yes", ", ", "both"]],
        audio=("m0002_0_sneeze.wav", "f0001_0_cough.wav"),
    )  # fmt: skip
    assert (code, out) == (0, "Yes, both\n")
    assert [clip.duration_s for clip in request.audio] == [1.0, 0.5]
    assert (request.prompt.text, request.prompt.format, request.prompt.turns) == (
        "Same?",
        "chat",
        (),
    )
    assert request.generation.max_new_tokens == 256
    assert "Audio 1: m0002_0_sneeze.wav, 1.00 s\nAudio 2: f0001_0_cough.wav, 0.50 s\n" in err


def test_pieces_are_shown_as_they_come(chat, capsys):
    seen = []

    def speak(on_text):
        for piece in ("one", " two"):
            on_text(0, piece)
            seen.append(capsys.readouterr().out)
        return []

    code, out, _, _ = chat("--text", "?", script=[speak])
    assert (code, seen, out) == (0, ["one", " two"], "\n")


def test_a_hostile_answer_is_one_inert_line(chat):
    pieces = ["\x1b", "[2J\r", "fine\n> /exit", "\u202e", "咳\n"]
    _, out, _, _ = chat("--text", "?", script=[pieces])
    assert out == "\\x1b[2J\\rfine\\n> /exit\\u202e咳\\n\n"


def test_a_failure_is_one_line_and_exit_3(chat):
    def fail(_on_text):
        raise ValueError("no \x1b answer")

    code, out, err, _ = chat("--text", "?", script=[fail])
    assert (code, out) == (3, "")
    assert err.splitlines()[-1] == "failed: ValueError: no \\x1b answer"


def test_a_reader_that_left_is_no_failure(chat, monkeypatch):
    class Closed(io.StringIO):
        def write(self, _text):
            raise BrokenPipeError

    def leave(_on_text):
        monkeypatch.setattr("sys.stdout", Closed())
        return ["a"]

    monkeypatch.setattr("sys.stderr", io.StringIO())
    code, _, _, _ = chat("--text", "?", script=[leave])
    assert code == 0


def test_each_clip_gets_an_answer_to_vocalsounds_question(chat):
    code, out, err, asked = chat("--each", audio=(".",), script=[["a\n"], ["b"], ["c"]])
    assert code == 0
    assert out.splitlines() == [
        "Answer[0]: a\\n", "Generate[0] token num: (0, 3)",
        "Answer[1]: b", "Generate[1] token num: (1, 6)",
        "Answer[2]: c", "Generate[2] token num: (2, 9)",
    ]  # fmt: skip
    assert err.count("Audio[") == 3
    assert {request.prompt.text for request in asked} == {
        "In this audio, what kind of sound can you hear? A: Laughter, B: Sigh, C: Cough, "
        "D: Throat clearing, E: Sneeze, F: Sniff, Please select the one closest to the correct "
        "answer."
    }
    assert {request.prompt.format for request in asked} == {"chat"}
    assert [len(request.audio) for request in asked] == [1, 1, 1]


def test_tokens_that_nobody_counted_are_no_zero(chat):
    _, out, _, _ = chat("--each", audio=(".",), counts=[4, None, 4])
    assert out.splitlines()[1::2] == [
        "Generate[0] token num: (0, 4)",
        "Generate[1] token num: (1, ?)",
        "Generate[2] token num: (2, ?)",
    ]


def test_each_clip_can_be_asked_something_else(chat):
    _, out, _, asked = chat("--each", "--text", "Loud?", audio=(".",))
    assert out.count("Answer[") == 3
    assert {request.prompt.text for request in asked} == {"Loud?"}


def test_a_dialogue_keeps_its_history_and_clips(chat):
    code, out, err, asked = chat(
        script=[["one"], ["two"], ["three"]],
        lines="first?\n\n  \nsecond?\n"
        "/audio m0002_0_sneeze.wav\n /audio m0003_0_sigh.wav \nthird? \n",
    )
    assert (code, out) == (0, "one\ntwo\nthree\n")
    assert [request.prompt.text for request in asked] == ["first?", "second?", "third?"]
    assert asked[0].prompt.turns == ()
    assert asked[2].prompt.turns == (Turn("first?", 1, "one"), Turn("second?", 0, "two"))
    assert {request.prompt.format for request in asked} == {"chat"}
    assert [clip.duration_s for clip in asked[2].audio] == [0.5, 1.0, 1.5]
    assert shas(asked[1]) == shas(asked[0])
    assert "Audio 2: m0002_0_sneeze.wav, 1.00 s\nAudio 3: m0003_0_sigh.wav" in err


def test_reset_forgets_and_exit_ends(chat):
    code, out, err, asked = chat(
        lines="first?\n/reset\nsecond?\n/audio m0002_0_sneeze.wav\nthird?\n/exit\nfourth?\n",
    )
    assert (code, out) == (0, "fine\nfine\n")
    assert [request.prompt.text for request in asked] == ["first?", "third?"]
    assert asked[1].prompt.turns == ()
    assert [clip.duration_s for clip in asked[1].audio] == [1.0]
    assert "modeltest: there is no clip to ask about; /audio FILE adds one\n" in err


def test_help_names_every_command(chat):
    _, out, err, _ = chat(lines="/help\n")
    assert out == ""
    assert all(word in err for word in ("/audio FILE", "/reset", "/help", "/exit", "Ctrl-C"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/audio gone.wav", "gone.wav: does not exist"),
        ("/audio ../clips/notes.txt", "notes.txt: "),
        ("/audio " + "x" * 5000, "File name too long"),
        ("/audio a\0b", "a\\x00b: "),
        ("/audio", "/audio: not understood; /help"),
        ("/exit now", "/exit: not understood"),
        ("/\x1b[2J", "/\\x1b[2J: not understood"),
        ("far too long " * 30, "question 1: the request has 100 input tokens"),
    ],
)
def test_a_mistake_is_one_line_and_the_dialogue_goes_on(chat, clips, line, said):
    (clips / "notes.txt").write_text("no audio")
    code, out, err, asked = chat("--max-input-length", "60", lines=f"{line}\nand now?\n")
    assert (code, out) == (0, "fine\n")
    [mistake] = [text for text in err.splitlines() if text.startswith("modeltest: ")]
    assert said in mistake
    assert mistake.isprintable()
    assert [request.prompt.text for request in asked] == ["and now?"]
    assert asked[0].prompt.turns == ()


def test_the_growing_history_is_measured_each_time(chat):
    _, out, err, asked = chat(
        "--max-input-length", "25",
        lines="a?\n/audio m0002_0_sneeze.wav\nb?\n/audio m0003_0_sigh.wav\nc?\n",
    )  # fmt: skip
    assert out == "fine\nfine\n"
    assert [request.prompt.text for request in asked] == ["a?", "b?"]
    assert "question 3: the request has 31 input tokens, --max-input-length allows 25" in err


def test_one_long_question_is_refused_before_the_model_is_loaded(chat, monkeypatch):
    monkeypatch.setattr(Scripted, "load", lambda _: pytest.fail("it was loaded"))
    code, out, err, _ = chat("--text", "what?", "--max-input-length", "5")
    assert (code, out) == (2, "")
    assert "the request has 11 input tokens" in err.splitlines()[-1]


def test_a_question_that_failed_is_not_kept_but_its_clips_are(chat):
    def fail(on_text):
        on_text(0, "half")
        raise ValueError("broken")

    code, out, err, asked = chat(script=[fail, ["whole"]], lines="first?\nsecond?\n")
    assert (code, out) == (0, "half\nwhole\n")
    assert "failed: ValueError: broken" in err
    assert asked[1].prompt.turns == ()
    assert shas(asked[1]) == shas(asked[0])


def test_a_lost_device_ends_the_dialogue(chat):
    def fail(_on_text):
        raise DeviceError("cpu does not answer any more")

    code, _, err, asked = chat(script=[fail], lines="first?\nsecond?\n")
    assert code == 5
    assert "does not answer any more" in err
    assert len(asked) == 1


def test_a_question_that_is_no_unicode_is_asked_without_that(chat):
    _, _, _, [request] = chat(lines="caf\udce9?\n")
    assert request.prompt.text == "caf??"


def interrupted(on_text):
    on_text(0, "half")
    os.kill(os.getpid(), signal.SIGINT)
    return [" never"]


def test_ctrl_c_stops_an_answer_only(chat):
    script = [["one"], interrupted, interrupted, ["four"]]
    code, out, err, asked = chat(script=script, lines="1?\n2?\n3?\n4?\n")
    assert (code, out) == (0, "one\nhalf\nhalf\nfour\n")
    assert err.count("stopped; neither question nor answer is kept\n") == 2
    assert asked[3].prompt.turns == (Turn("1?", 1, "one"),)


def test_ctrl_c_that_a_library_takes_for_a_failure_stops_the_answer_too(chat):
    def answer(on_text):
        try:
            interrupted(on_text)
        except BaseException as error:
            raise RuntimeError("callback failed") from error

    code, out, err, asked = chat(script=[answer, ["two"]], lines="1?\n2?\n")
    assert (code, out) == (0, "half\ntwo\n")
    assert "stopped; " in err
    assert asked[1].prompt.turns == ()


def test_without_input_there_is_nothing_to_answer(chat, monkeypatch):
    monkeypatch.setattr("io.StringIO", lambda _: None)
    code, out, _, asked = chat()
    assert (code, out, asked) == (0, "", [])
