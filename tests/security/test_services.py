"""A hostile service, a hostile environment, and certificates."""

import ssl

import pytest
import trustme
from raw_http import KEEP, RawServer, answer
from service_settings import ask, service_backend, service_settings

from modeltest.backends.factory import make_backend
from modeltest.devices.service import ServiceDevice
from modeltest.errors import ModelError, SettingsError, UsageError
from modeltest.settings.load import load_model
from modeltest.settings.overrides import split_overrides

REPLY = {"choices": [{"message": {"content": "C"}, "finish_reason": "stop"}]}
GOOD = [answer(REPLY), KEEP]


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls_server(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with RawServer([GOOD], context=context) as server:
        yield server


def test_an_unknown_certificate_is_refused(tls_server):
    backend = service_backend(tls_server.url)
    with pytest.raises(ModelError, match="certificate verify failed"):
        backend.load()
    backend.close()
    assert tls_server.received == []


def test_the_own_authority_of_a_file_is_trusted(tls_server, authority, tmp_path):
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    backend = service_backend(tls_server.url, verify=str(file))
    backend.load()
    assert backend.generate([ask()])[0].text == "C"
    backend.close()


def test_a_certificate_for_another_name_is_refused(authority, tmp_path):
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    with RawServer([GOOD], context=context) as server:
        backend = service_backend(server.url, verify=str(file))
        with pytest.raises(ModelError, match="certificate verify failed"):
            backend.load()
        backend.close()


def test_without_verification_any_certificate_does(tls_server):
    backend = service_backend(tls_server.url, verify=False)
    assert backend.generate([ask()])[0].text == "C"
    backend.close()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_refused(tmp_path, content):
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    with pytest.raises(ModelError, match=r"verify: .*ca.pem cannot be used"):
        service_backend("https://127.0.0.1:9", verify=str(file))


PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def test_the_environments_proxy_counts_only_when_asked_for(monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password canary\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with RawServer([GOOD]) as trap, RawServer([GOOD]) as server:
        for name in PROXIES:
            monkeypatch.setenv(name, trap.url)
        plain = service_backend(server.url)
        assert plain.generate([ask()])[0].text == "C"
        assert trap.received == []
        assert "authorization" not in server.received[0].headers
        asked = service_backend(server.url, trust_env=True)
        asked.generate([ask()])
        assert [request.path for request in trap.posts] == [f"{server.url}/v1/chat/completions"]
        plain.close()
        asked.close()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://host", "host:8000", "http://", "http:///x", "//host",
        "http://u:canary@host", "http://canary@host", "http://host?key=canary", "http://host#canary",
        "http://host:canary", "http://host:99999", "http://ho st", "http://host/\n", "http://hö.de",
        "http://[::1", "gopher://host", "http://" + "x" * 600,
    ],
)  # fmt: skip
def test_an_address_that_is_no_plain_web_address_is_refused_and_not_shown(url, tmp_path):
    file = tmp_path / "served.yaml"
    file.write_text(f"backend: openai\nbase_url: {url!r}\n".replace("\\n", "\n  "))
    with pytest.raises(SettingsError) as caught:
        load_model(str(file))
    assert "key 'base_url'" in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "model.base_url=http://u:canary@host",
        "model.api_key_env=sk-canary",
        "base_url=http://canary@host",
    ],
)
def test_an_override_that_holds_a_secret_is_refused_and_not_shown(text, tmp_path):
    file = tmp_path / "served.yaml"
    file.write_text("backend: openai\n")
    overrides, _ = split_overrides([text])
    with pytest.raises((SettingsError, UsageError)) as caught:
        load_model(str(file), overrides)
    assert "canary" not in str(caught.value)


def test_a_key_in_place_of_its_name_is_refused_and_not_shown(tmp_path):
    file = tmp_path / "served.yaml"
    file.write_text("backend: openai\napi_key_env: sk-canary\n")
    with pytest.raises(SettingsError, match="never the key itself") as caught:
        load_model(str(file))
    assert "canary" not in str(caught.value)


def test_a_dump_of_the_settings_makes_the_same_settings():
    settings = service_settings("https://host", verify="/ca.pem", request={"stream": True})
    again = type(settings).model_validate_json(settings.model_dump_json())
    assert again == settings
    make_backend(again.model_copy(update={"verify": True}), 0, ServiceDevice()).close()
