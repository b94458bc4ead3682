"""The API key leaves no trace, however it is spelled and wherever a text is cut."""

import base64
import json
from urllib.parse import quote

import pytest

from modeltest.backends.service.failures import error_text
from modeltest.backends.service.secret import CleanPieces, Secret, api_key
from modeltest.errors import ModelError

KEY = "sk-Canary/7f+3a9=&"
SECRET = Secret(KEY)


@pytest.mark.parametrize("before", ["", "B", "Be", "Bearer ", "Basic dXNlcjo="])
@pytest.mark.parametrize("after", ["", "x", "xy", "xyz"])
def test_the_key_is_found_in_every_base64_position(before, after):
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(f"{before}{KEY}{after}".encode()).decode()
        cleaned = SECRET.cleaned(text)
        assert "[API key]" in cleaned
        # What stays decodes to nothing of the key but its outermost letters.
        left = cleaned.replace("[API key]", "")
        assert len(left) <= len(text) - len(KEY)


@pytest.mark.parametrize(
    "spelled",
    [KEY, KEY.upper(), quote(KEY, safe=""), quote(KEY, safe="").lower(), KEY.encode().hex()],
)
def test_the_key_is_found_however_it_is_spelled(spelled):
    assert SECRET.cleaned(f"<{spelled}>") == "<[API key]>"


def test_nothing_shows_the_key():
    assert KEY not in repr(SECRET)
    assert KEY not in str(SECRET)
    assert SECRET.headers == {"Authorization": f"Bearer {KEY}"}
    assert Secret().headers == {}
    assert Secret().cleaned("anything") == "anything"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 100])
def test_a_text_in_pieces_is_cleaned_as_a_whole(size):
    text = f"sk-Canary is not it, {KEY}{KEY} is, sk-Can sk-sk-{KEY} sk-"
    told: list[str] = []
    pieces = CleanPieces(SECRET, told.append)
    for start in range(0, len(text), size):
        pieces.add(text[start : start + size])
    pieces.end()
    assert "".join(told) == SECRET.cleaned(text)
    assert KEY not in "".join(told)
    assert all(told)


def test_without_a_key_nothing_is_held_back():
    told: list[str] = []
    pieces = CleanPieces(Secret(), told.append)
    pieces.add("sk-")
    assert told == ["sk-"]


def test_the_key_comes_from_the_environment_alone(monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    assert api_key("THE_KEY").headers == SECRET.headers
    assert api_key(None).headers == {}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "THE_KEY is not set"),
        ("", "THE_KEY is not set"),
        ("EMPTY", "fewer than 8"),
        (f"{KEY}\n", "no API key has"),
        (f"{KEY} {KEY}", "no API key has"),
        (f"{KEY}ä", "no API key has"),
        (f"{KEY}\r\nX-Other: 1", "no API key has"),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(monkeypatch, value, said):
    if value is None:
        monkeypatch.delenv("THE_KEY", raising=False)
    else:
        monkeypatch.setenv("THE_KEY", value)
    with pytest.raises(ModelError, match=said) as caught:
        api_key("THE_KEY")
    assert KEY not in str(caught.value)
    assert "EMPTY" not in str(caught.value)


@pytest.mark.parametrize("spaces", [0, 400])
@pytest.mark.parametrize("before", [*range(270, 310), *range(1180, 1210)])
def test_a_shortened_text_does_not_end_in_a_beginning_of_the_key(before, spaces):
    text = ("x " * spaces + "y" * before)[-before:] + KEY
    shown = SECRET.cleaned(error_text(json.dumps({"error": text}).encode()))
    assert len(shown) <= 320
    assert KEY[:4] not in shown
