"""Where clips may come from: own bytes, a folder, a host; nothing else."""

import http.server
import re
import socket
import ssl
import threading
import time
from contextlib import suppress

import pytest
import trustme
from raw_http import RawServer

from modeltest.audio.decode import fetch
from modeltest.errors import UsageError
from modeltest.service import remote_media
from modeltest.service.content import ClipReference
from modeltest.service.media import Allowance, audio_source, parse_allowance
from modeltest.service.refusals import Refusal

NOTHING = Allowance()


def refusal(address, allowance=NOTHING):
    with pytest.raises(Refusal) as caught:
        audio_source(ClipReference("clip 1", address=address), allowance)
    assert caught.value.status == 400
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    "head",
    [
        "data:audio/wav;base64", "data:audio/x-wav;base64", "data:audio/mpeg;base64",
        "DATA:Audio/Flac;Base64", "data:audio/vnd.wave;base64", "data:audio/ogg;codecs=opus;base64",
        "data:audio/L16;rate=16000;channels=1;base64",
    ],
)  # fmt: skip
def test_data_uris_of_any_audio_subtype(head):
    source = audio_source(ClipReference("clip 1", address=f"{head},aGVsbG8="), NOTHING)
    assert source.read() == b"hello"


@pytest.mark.parametrize(
    "address",
    ["data:audio/wav,hello", "data:image/png;base64,AAAA", "data:audio/;base64,AAAA", "x.wav",
     "ftp://host/x", "data:", "C:\\x.wav"],
)  # fmt: skip
def test_addresses_of_no_known_kind(address):
    assert "its address is no" in refusal(address)


@pytest.mark.parametrize(
    "address", ["/a" * 2049, "http://h/" + "a" * 4096, "data:" + ";a=b" * 1024]
)
def test_addresses_that_are_too_long(address):
    assert refusal(address) == "clip 1: its address is longer than 4096"


@pytest.mark.parametrize("encoded", ["!!!!", "AAA", "a\nAAA", "aGVsbG8=x", "é"])
def test_base64_that_is_none(encoded):
    with pytest.raises(Refusal, match="its data is no base64"):
        audio_source(ClipReference("clip 1", encoded=encoded), NOTHING)
    assert "no base64" in refusal(f"data:audio/wav;base64,{encoded}")


@pytest.fixture
def folders(tmp_path):
    """A folder that is allowed, beside others that are not."""
    for name in ("clips", "clips2", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a b.wav").write_bytes(name.encode())
    (tmp_path / "clips" / "link.wav").symlink_to(tmp_path / "secret" / "a b.wav")
    (tmp_path / "clips" / "folder").symlink_to(tmp_path / "secret")
    (tmp_path / "clips" / "inner.wav").symlink_to(tmp_path / "clips" / "a b.wav")
    (tmp_path / "by_link").symlink_to(tmp_path / "clips")
    return tmp_path


@pytest.mark.parametrize(
    "address",
    ["{}/clips/a b.wav", "file://{}/clips/a%20b.wav", "file://localhost{}/clips/a%20b.wav",
     "{}/clips/../clips/a b.wav", "{}/clips/inner.wav", "{}/by_link/a b.wav",
     "FILE://{}/clips/a b.wav"],
)  # fmt: skip
@pytest.mark.parametrize("allowed", ["clips", "by_link"])
def test_files_below_an_allowed_folder(folders, address, allowed):
    allowance = parse_allowance([str(folders / allowed)])
    source = audio_source(ClipReference("clip 1", address=address.format(folders)), allowance)
    assert fetch(source).data == b"clips"


@pytest.mark.parametrize(
    "address",
    ["{}/secret/a b.wav", "{}/clips2/a b.wav", "{}/clips/../secret/a b.wav", "{}/clips/link.wav",
     "{}/clips/folder/a b.wav", "{}/clips", "file://{}/clips/%2e%2e/secret/a%20b.wav",
     "/etc/passwd", "/proc/self/environ", "{}/secret/missing.wav", "{}/clips/a\0.wav",
     "file://{}/clips/a%00.wav", "file:///", "/"],
)  # fmt: skip
def test_files_elsewhere_are_refused_whether_they_exist_or_not(folders, address):
    allowance = parse_allowance([str(folders / "clips")])
    address = address.format(folders)
    message = refusal(address, allowance)
    assert "may not be read" in message
    assert "--allow-media DIR" in message


def test_names_are_shown_on_one_line(folders):
    allowance = parse_allowance([str(folders)])
    clip = ClipReference("clip 1", address=f"{folders}/\x1b[2J\n.wav")
    assert audio_source(clip, allowance).name.isprintable()


@pytest.mark.parametrize("address", ["file://host/clips/a.wav", "file:relative", "file://[x/a"])
def test_file_urls_of_other_hosts_or_none(address):
    refusal(address)


def test_without_a_folder_no_file_is_read(folders):
    assert "--allow-media DIR" in refusal(str(folders / "clips" / "a b.wav"))


def test_what_allow_media_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    found = parse_allowance(["clips", str(tmp_path), "Media.Example:8000", "[::1]:80", "10.0.0.1"])
    assert found.folders == (str(tmp_path / "clips"), str(tmp_path))
    assert found.hosts == {"media.example:8000", "[::1]:80", "10.0.0.1"}


@pytest.mark.parametrize(
    "value", ["/missing/folder", "./missing", "http://host", "a b", "", "host:", "user@host", "*"]
)
def test_what_allow_media_refuses(value):
    with pytest.raises(UsageError, match="--allow-media"):
        parse_allowance([value])


class Answers(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/a.wav")
            self.end_headers()
        elif self.path.startswith("/short"):
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"little")
        else:
            self.send_response(200 if self.path.startswith("/a.wav") else 404)
            self.end_headers()
            self.wfile.write(self.headers["Accept-Encoding"].encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def host():
    Answers.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_clip_from_an_allowed_host(host):
    allowance = parse_allowance([host])
    source = audio_source(ClipReference("clip 1", address=f"http://{host}/a.wav?x=1"), allowance)
    assert source.read() == b"identity"
    assert Answers.asked == ["/a.wav?x=1"]


@pytest.mark.parametrize(
    "address",
    ["http://{host}/a.wav", "http://localhost:{port}/a.wav", "http://{host}.evil.example/a.wav",
     "http://127.0.0.1/a.wav", "http://allowed.example@{host}/a.wav", "http://{host}@allowed.example",
     "http://allowed.example:81/", "http://[::1/", "http://allowed.example\\@{host}/", "https://",
     "http://allowed.example:99999999/"],
)  # fmt: skip
def test_hosts_that_were_not_named_are_not_asked(host, address):
    message = refusal(
        address.format(host=host, port=host.rpartition(":")[2]),
        parse_allowance(["allowed.example"]),
    )
    assert "--allow-media HOST" in message or "no plain host" in message
    assert Answers.asked == []


@pytest.mark.parametrize(
    ("path", "words"),
    [("moved", "status 302; redirects are not followed"), ("none", "status 404"),
     ("short", "IncompleteRead|ends before")],
)  # fmt: skip
def test_replies_that_are_no_clip(host, path, words):
    assert re.search(words, refusal(f"http://{host}/{path}", parse_allowance([host])))
    assert len(Answers.asked) == 1


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n"
DRIP = [step for _ in range(60) for step in (b"x", 0.1)]
SLOW = {
    "with a length": [HEAD + b"Content-Length: 1000\r\n\r\n", *DRIP],
    "that ends with its connection": [HEAD + b"\r\n", *DRIP],
    "in chunks": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n", *DRIP],
    "whose head never ends": [b"HTTP/1.1 200 OK\r\nX: ", *DRIP],
}


@pytest.fixture
def short_deadline(monkeypatch):
    """A deadline of 0.5 s, which is met."""
    monkeypatch.setattr(remote_media, "DEADLINE_S", 0.5)
    start_s = time.monotonic()
    yield
    assert 0.5 <= time.monotonic() - start_s < 1.5


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls(authority, tmp_path, monkeypatch):
    """Of a server whose certificate is trusted."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def refusal_of(server):
    return refusal(f"{server.url}/a.wav", parse_allowance([f"127.0.0.1:{server.port}"]))


TOO_SLOW = "clip 1: fetching it took longer than 0.5 s"


@pytest.mark.usefixtures("short_deadline")
@pytest.mark.parametrize("name", SLOW)
def test_a_slow_host_meets_the_deadline_and_its_part_is_no_clip(name):
    with RawServer(gets={"/a.wav": SLOW[name]}) as server:
        assert refusal_of(server) == TOO_SLOW


@pytest.mark.usefixtures("short_deadline")
@pytest.mark.parametrize("name", SLOW)
def test_a_slow_host_meets_the_deadline_over_tls(tls, name):
    with RawServer(gets={"/a.wav": SLOW[name]}, context=tls) as server:
        assert refusal_of(server) == TOO_SLOW
        assert [request.path for request in server.received] == ["/a.wav"]


@pytest.mark.usefixtures("short_deadline")
def test_a_slow_handshake_meets_the_deadline():
    def drip(listener, ended):
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00")  # the head of a long record
            while not ended.wait(0.1):
                connection.sendall(b"\x02")

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener, ended))
        thread.start()
        name = f"127.0.0.1:{listener.getsockname()[1]}"
        try:
            assert refusal(f"https://{name}/a.wav", parse_allowance([name])) == TOO_SLOW
        finally:
            ended.set()
            thread.join()


@pytest.mark.usefixtures("short_deadline")
def test_a_slow_look_up_meets_the_deadline_and_nobody_is_asked_afterwards(host, monkeypatch):
    looked_up, port = threading.Event(), int(host.rpartition(":")[2])

    def look_up(*_, **__):
        looked_up.wait(10)
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(remote_media.socket, "getaddrinfo", look_up)
    message = refusal(f"http://localhost:{port}/a.wav", parse_allowance([f"localhost:{port}"]))
    looked_up.set()
    [thread] = [found for found in threading.enumerate() if found.name == "fetch of a clip"]
    thread.join(5)
    assert not thread.is_alive()
    assert message == TOO_SLOW
    assert Answers.asked == []


def test_a_clip_over_tls(tls):
    body = [HEAD + b"Content-Length: 5\r\n\r\nhello"]
    with RawServer(gets={"/a.wav": body}, context=tls) as server:
        allowance = parse_allowance([f"127.0.0.1:{server.port}"])
        clip = ClipReference("clip 1", address=f"{server.url}/a.wav")
        assert audio_source(clip, allowance).read() == b"hello"


def test_a_certificate_that_nobody_vouches_for(tls, monkeypatch, tmp_path):
    (tmp_path / "other.pem").write_bytes(trustme.CA().cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    with RawServer(context=tls) as server:
        assert "certificate verify failed" in refusal_of(server)
        assert server.received == []


@pytest.mark.parametrize(
    "near", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1%lo",
             "0.0.0.0"]
)  # fmt: skip
def test_a_name_that_leads_to_this_machine_is_not_asked(host, monkeypatch, near):
    port = int(host.rpartition(":")[2])
    found = [(2, 1, 6, "", (near, port))]
    monkeypatch.setattr(remote_media.socket, "getaddrinfo", lambda *_, **__: found)
    name = f"media.example:{port}"
    message = refusal(f"http://{name}/a.wav", parse_allowance([name]))
    assert f"media.example leads to {near}" in message
    assert Answers.asked == []


def test_nobody_listens():
    name = "127.0.0.1:1"
    assert "fetching it failed" in refusal(f"http://{name}/a.wav", parse_allowance([name]))
