"""A corpus of bad and odd clips, built byte by byte, each with what must come of it.

Valid MP3, OGG and FLAC bytes come from libsndfile's encoders; everything that is wrong or
unusual about a clip is done to the bytes here.
"""

import functools
import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import soundfile

RATE = 16_000
NOISE = np.random.default_rng(7).uniform(-0.5, 0.5, 4000)
FRAMES = (NOISE * 32767).astype("<i2").tobytes()
UNSET = 0xFFFFFFFF


class Case(NamedTuple):
    """One clip: refused with `refused` in the message, or decoded to `num_frames` with `note`.

    `late` marks faults that only decoding finds; the others are refused by `inspect` too.
    """

    name: str
    build: Callable[[], bytes]
    refused: str = ""
    num_frames: int = 0
    note: str = ""
    file_name: str = ""
    late: bool = False


@functools.cache
def encoded(container: str, subtype: str, samples: str = "noise", rate: int = RATE, **options):
    data = {
        "noise": NOISE,
        "stereo": np.stack([NOISE, -NOISE / 2], axis=1),
        "long": np.zeros((601_000, 8), np.int16),
        "loud to quiet": np.concatenate([NOISE, np.zeros(40_000)]),
    }[samples]
    file = io.BytesIO()
    soundfile.write(file, data, rate, format=container, subtype=subtype, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes, size: int | None = None, order: str = "<") -> bytes:
    size = len(body) if size is None else size
    return kind + struct.pack(order + "I", size) + body + b"\0" * (len(body) % 2)


def fmt(channels=1, rate=RATE, bits=16, code=1, block=None, order="<") -> bytes:
    block = channels * bits // 8 if block is None else block
    body = struct.pack(order + "HHIIHH", code, channels, rate, rate * block, block, bits)
    return chunk(b"fmt ", body, order=order)


def riff(*chunks: bytes, size: int | None = None, kind: bytes = b"RIFF", order="<") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return kind + struct.pack(order + "I", len(body) if size is None else size) + body


def data(body: bytes = FRAMES, size: int | None = None) -> bytes:
    return chunk(b"data", body, size)


def wav(body: bytes = FRAMES, **form) -> bytes:
    return riff(fmt(**form), data(body))


def floats(*values: float, letter: str = "f") -> bytes:
    body = struct.pack(f"<{len(values)}{letter}", *values)
    return wav(body, bits=8 * struct.calcsize(letter), code=3)


def big_endian_wav() -> bytes:
    body = np.frombuffer(FRAMES, "<i2").astype(">i2").tobytes()
    return riff(fmt(order=">"), chunk(b"data", body, order=">"), kind=b"RIFX", order=">")


def rf64(riff_size: int | None = None, data_size: int | None = None) -> bytes:
    whole = 4 + 36 + 24 + 8 + len(FRAMES) if riff_size is None else riff_size
    size = len(FRAMES) if data_size is None else data_size
    sizes = struct.pack("<QQQI", whole, size, len(FRAMES) // 2, 0)
    parts = chunk(b"ds64", sizes), fmt(), data(size=UNSET)
    return riff(*parts, size=UNSET, kind=b"RF64")


def flac(rate=None, channels=None, total=None, md5=None) -> bytes:
    """A valid FLAC with some fields of STREAMINFO forged."""
    clip = bytearray(encoded("FLAC", "PCM_16"))
    packed = int.from_bytes(clip[18:26], "big")
    fewer = None if channels is None else channels - 1
    for value, shift, bits in ((rate, 44, 20), (fewer, 41, 3), (total, 0, 36)):
        if value is not None:
            packed = packed & ~((1 << bits) - 1 << shift) | value << shift
    clip[18:26] = packed.to_bytes(8, "big")
    clip[26:42] = clip[26:42] if md5 is None else md5
    return bytes(clip)


def ogg_pages(clip: bytes) -> list[bytes]:
    starts = []
    at = 0
    while at < len(clip):
        starts.append(at)
        segments = clip[at + 27 : at + 27 + clip[at + 26]]
        at += 27 + len(segments) + sum(segments)
    return [clip[a:b] for a, b in zip(starts, [*starts[1:], len(clip)], strict=True)]


def ogg(edit: Callable[[list[bytes]], list[bytes]] = list) -> bytes:
    return b"".join(edit(ogg_pages(encoded("OGG", "VORBIS"))))


def sealed(page: bytes, flags: int | None = None, serial: bytes | None = None) -> bytes:
    """A page with fields changed and the right checksum, by the definition in RFC 3533."""
    page = bytearray(page)
    page[5] = page[5] if flags is None else flags
    page[14:18] = page[14:18] if serial is None else serial
    page[22:26] = bytes(4)
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & UNSET
    page[22:26] = struct.pack("<I", crc)
    return bytes(page)


def mp3(**options) -> bytes:
    return encoded("MP3", "MPEG_LAYER_III", **{"compression_level": 0.5, **options})


CBR = {"bitrate_mode": "CONSTANT"}
VBR = {"bitrate_mode": "VARIABLE"}
MP3_FRAME = 360  # bytes of a frame of `mp3(**CBR)`: 80 kbit/s, 576 samples at 16 kHz
MP3_NUM_FRAMES = 9


def untagged_mp3() -> bytes:
    return mp3(**CBR)[MP3_FRAME:]


def retagged_mp3(num_frames: int, flags: int = 0xF) -> bytes:
    clip = bytearray(mp3(**CBR))
    at = clip.index(b"Info")
    clip[at + 4 : at + 12] = struct.pack(">II", flags, num_frames)
    return bytes(clip)


def id3v2(size: int = 100) -> bytes:
    return b"ID3\4\0\0" + bytes([0, 0, size >> 7, size & 0x7F]) + bytes(size)


def ape_tag() -> bytes:
    return b"APETAGEX" + struct.pack("<IIII8x", 2000, 32, 0, 0)


def aiff(num_frames: int = 4000, size: int | None = None, sound: bytes = FRAMES) -> bytes:
    common = struct.pack(">HIH", 1, num_frames, 16) + bytes.fromhex("400cfa00000000000000")
    body = b"AIFF" + chunk(b"COMM", common, order=">")
    body += chunk(b"SSND", bytes(8) + sound, order=">")
    return b"FORM" + struct.pack(">I", len(body) if size is None else size) + body


def au(size: int = len(FRAMES), code: int = 3, tail: bytes = b"") -> bytes:
    return b".snd" + struct.pack(">5I", 24, size, code, RATE, 1) + FRAMES + tail


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("clip.wav", wav())
    return file.getvalue()


def part(build: Callable[[], bytes], end: int | float) -> Callable[[], bytes]:
    """Only the beginning of a clip: so many bytes, so many less, or this share."""

    def cut() -> bytes:
        whole = build()
        return whole[: int(len(whole) * end) if isinstance(end, float) else end]

    return cut


NO_AUDIO = "not readable as audio ("
STREAM = "declares no length (a stream? encode it again)"
LIST = chunk(b"LIST", b"INFOISFT\4\0\0\0abc\0")

WAV_REFUSED = [
    Case("empty file", lambda: b"", "is empty"),
    Case("wav magic only", lambda: b"RIFF", NO_AUDIO),
    Case("wav 11 bytes", part(wav, 11), NO_AUDIO),
    Case("wav 12 bytes", part(wav, 12), "is cut: its header declares 8036 bytes, 4 are there"),
    Case("wav cut in fmt", part(wav, 30), "is cut: its fmt chunk declares 16 bytes, 10"),
    Case("wav header only", lambda: riff(fmt(), data(b"")), "declares no frames"),
    Case("wav half", part(wav, 0.5), "is cut: its data chunk declares 8000 bytes, 3978 are there"),
    Case("wav one byte short", part(wav, -1), "is cut: its data chunk declares 8000 bytes, 7999"),
    Case("wav no data", lambda: riff(fmt(), LIST), "holds no data chunk"),
    Case("wav no fmt", lambda: riff(data()), "holds no fmt chunk"),
    Case("wav two fmt", lambda: riff(fmt(), fmt(rate=8000), data()), "holds two fmt chunks"),
    Case("wav two data", lambda: riff(fmt(), data(), data()), "holds two data chunks"),
    Case("wav data before fmt", lambda: riff(data(), fmt()), "describes its audio too late"),
    Case("wav short fmt", lambda: riff(chunk(b"fmt ", b"\1\0\1\0"), data()), "too few bytes"),
    Case("wav RIFF size large", lambda: riff(fmt(), data(), size=9000), "its header declares 9000"),
    Case("wav RIFF size small", lambda: riff(fmt(), data(), size=100), "its data chunk declares"),
    Case("wav RIFF size zero", lambda: riff(fmt(), data(), size=0), STREAM),
    Case("wav all sizes unset", lambda: riff(fmt(), data(size=UNSET), size=UNSET), STREAM),
    Case("wav data size unset", lambda: riff(fmt(), data(size=UNSET)), STREAM),
    Case("wav never finished", lambda: riff(fmt(), data(size=0), size=36), STREAM),
    Case("wav data size large", lambda: riff(fmt(), data(size=8002)), "declares 8002 bytes, 8000"),
    Case("wav sox pipe", lambda: riff(fmt(), data(size=0x7FFFF000), size=0x7FFFF024), "is cut"),
    Case("wav ragged data", lambda: wav(FRAMES + b"\0"), "holds 8001 bytes in frames of 2 bytes"),
    Case("wav no block size", lambda: wav(block=0), "in frames of 0 bytes"),
    Case("wav wrong block size", lambda: wav(block=8), "holds 1000 frames, of which"),
    Case("wav no channels", lambda: wav(channels=0, block=2), NO_AUDIO),
    Case("wav no rate", lambda: wav(rate=0), NO_AUDIO),
    Case("wav 9 channels", lambda: wav(FRAMES[:7200], channels=9), "9 channels, the limit is 8"),
    Case("wav 1000 channels", lambda: wav(channels=1000), "1000 channels, the limit is 8"),
    Case("wav 385 kHz", lambda: wav(rate=385_000), "has a rate of 385000 Hz, the limits are"),
    Case("wav 2 GHz", lambda: wav(rate=2_000_000_000), "has a rate of 2000000000 Hz"),
    Case("wav 999 Hz", lambda: wav(rate=999), "has a rate of 999 Hz"),
    Case("wav 601 s", lambda: wav(bytes(601_000), rate=1000, bits=8), "is longer than 600 s"),
    Case("wav NaN", lambda: floats(*[0.1] * 2000, float("nan")), "1 samples that are", late=True),
    Case("wav Inf", lambda: floats(*[0.1] * 2000, float("inf")), "1 samples that are", late=True),
    Case("wav -Inf", lambda: floats(float("-inf"), *[0.1] * 9), "1 samples that are", late=True),
    Case("wav 1e300", lambda: floats(*[1e300] * 9, letter="d"), "9 samples that are", late=True),
    Case("wav unknown codec", lambda: wav(code=0x1234), NO_AUDIO),
    Case("wav 10,001 chunks", lambda: riff(*[chunk(b"JUNK", b"")] * 10_001), "more than 10000 ch"),
    Case("wav odd chunk name", lambda: riff(chunk(b"\n\x1b[1", b"", 9)), r"its \n\x1b[1 chunk"),
    Case("wav ADPCM half", part(lambda: encoded("WAV", "IMA_ADPCM"), 0.5), "its data chunk"),
    Case("wav GSM cut", part(lambda: encoded("WAV", "GSM610"), -1), "is cut"),
    Case("RIFX half", part(big_endian_wav, 0.5), "is cut: its data chunk declares 8000 bytes"),
    Case("RF64 half", part(rf64, 0.5), "is cut: its data chunk declares 8000 bytes"),
    Case("RF64 without ds64", lambda: riff(fmt(), data(), kind=b"RF64"), "RF64 without a ds64"),
    Case("RF64 data large", lambda: rf64(data_size=1 << 60), "is cut: its data chunk declares"),
    Case("RF64 whole large", lambda: rf64(riff_size=1 << 60), "is cut: its header declares"),
]

WAV_DECODED = [
    Case("wav", wav, num_frames=4000),
    Case("wav 10 bytes behind", lambda: wav() + bytes(10), "", 4000, "10 bytes after its end"),
    Case("wav padding missing", lambda: wav(bytes(4001), bits=8)[:-1], "", 4001),
    Case("wav list before data", lambda: riff(fmt(), LIST, data()), "", 4000),
    Case("wav list behind data", lambda: riff(fmt(), data(), LIST), "", 4000),
    Case("wav odd chunk", lambda: riff(chunk(b"abcd", b"xyz"), fmt(), data()), "", 4000),
    Case("wav extensible", lambda: encoded("WAVEX", "PCM_24"), "", 4000),
    Case("wav A-law", lambda: encoded("WAV", "ALAW"), "", 4000),
    Case("RIFX", big_endian_wav, "", 4000),
    Case("RF64", rf64, "", 4000),
    Case("wav peak 12.3", lambda: floats(*[12.3, -1.0] * 1000), "", 2000, "peak 12.3"),
    Case("wav peak -3", lambda: floats(*[-3.0, 1.0] * 1000), "", 2000, "peak 3"),
    Case("wav peak 1.9", lambda: floats(*[1.9] * 2000), "", 2000),
    Case("wav 1 frame", lambda: wav(FRAMES[:2]), "", 1, "padded to 0.1 s"),
    Case("wav 8 ch 384 kHz", lambda: wav(bytes(16 * 40_000), channels=8, rate=384_000), "", 40_000),
    Case("wav 600 s", lambda: wav(bytes(600_000), rate=1000, bits=8), "", 600_000),
    Case("wav called flac", wav, "", 4000, "named .flac, is WAV", "clip.flac"),
    Case("wav called WAV", wav, "", 4000, file_name="clip.WAV"),
    Case("wav called txt", wav, "", 4000, file_name="clip.txt"),
]

FLAC = [
    Case("flac half", part(flac, 0.5), "is cut or damaged (", late=True),
    Case("flac one byte short", part(flac, -1), "is cut or damaged (", late=True),
    Case("flac 10 bytes", part(flac, 10), "FLAC without a whole STREAMINFO"),
    Case("flac metadata only", part(flac, 86), "is cut or damaged (", late=True),
    Case("flac no length", lambda: flac(total=0), STREAM),
    Case("flac declares more", lambda: flac(total=4001), "is cut or damaged (", late=True),
    Case("flac declares fewer", lambda: flac(total=3000), "differs from its MD5", late=True),
    Case("flac declares 2^36-1", lambda: flac(total=(1 << 36) - 1), "is longer than 600 s"),
    Case("flac other MD5", lambda: flac(md5=b"x" * 16), "differs from its MD5", late=True),
    Case("flac rate 1 Hz", lambda: flac(rate=1), "has a rate of 1 Hz"),
    Case("flac rate 500 kHz", lambda: flac(rate=500_000), "has a rate of 500000 Hz"),
    Case("flac 601 s of 8", lambda: encoded("FLAC", "PCM_16", "long", 1000), "is longer than 600"),
    Case(
        "flac 500 s of 8 at 384 kHz",
        lambda: flac(rate=384_000, channels=8, total=500 * 384_000),
        "decodes to more than 256 MiB",
    ),
    Case("flac no MD5", lambda: flac(md5=bytes(16)), "", 4000),
    Case("flac stereo 24 bit", lambda: encoded("FLAC", "PCM_24", "stereo"), "", 4000),
    Case("flac called wav", flac, "", 4000, "named .wav, is FLAC", "clip.wav"),
    Case("flac with ID3v1", lambda: flac() + b"TAG" + bytes(125), "", 4000),
]

OGG = [
    Case("ogg", ogg, "", 4000),
    Case("opus", lambda: encoded("OGG", "OPUS"), "", 4000, file_name="clip.opus"),
    Case("ogg called mp3", ogg, "", 4000, "named .mp3, is OGG", "clip.mp3"),
    Case("ogg half", part(ogg, 0.5), "is cut in the OGG page at byte"),
    Case("ogg one byte short", part(ogg, -1), "is cut in the OGG page at byte"),
    Case("opus half", part(lambda: encoded("OGG", "OPUS"), 0.5), "is cut in the OGG page"),
    Case("ogg last page gone", lambda: ogg(lambda p: p[:-1]), "is not marked as the end"),
    Case("ogg first page only", lambda: ogg(lambda p: p[:1]), "is not marked as the end"),
    Case("ogg page missing", lambda: ogg(lambda p: p[:1] + p[2:]), "lacks OGG page 1"),
    Case("ogg pages swapped", lambda: ogg(lambda p: [p[0], p[2], p[1]]), "lacks OGG page 1"),
    Case("ogg page twice", lambda: ogg(lambda p: [*p[:2], *p[1:]]), "lacks OGG page 2"),
    Case("ogg damaged", lambda: ogg(lambda p: [*p[:-1], p[-1][:-1] + b"?"]), "is damaged in OGG"),
    Case("ogg junk between", lambda: ogg(lambda p: [p[0], b"junk", *p[1:]]), "holds no OGG page"),
    Case("ogg bytes behind", lambda: ogg() + b"junk", "goes on for 4 bytes after its last page"),
    Case("ogg chained", lambda: ogg() * 2, "bytes after its last page"),
    Case(
        "ogg two streams",
        lambda: ogg(lambda p: [p[0], sealed(p[0], serial=b"abcd"), *p[1:]]),
        "holds several streams",
    ),
    Case(
        "ogg ends after its headers",
        lambda: ogg(lambda p: [p[0], sealed(p[1], flags=4)]),
        "declares no frames",
    ),
]

MP3 = [
    Case("mp3", mp3, "", 4000),
    Case("mp3 CBR", lambda: mp3(**CBR), "", 4000),
    Case("mp3 called wav", mp3, "", 4000, "named .wav, is MP3", "clip.wav"),
    Case("mp3 with ID3v2", lambda: id3v2() + mp3(), "", 4000),
    Case("mp3 with ID3v1", lambda: mp3() + b"TAG" + bytes(125), "", 4000),
    Case("mp3 with APEv2", lambda: mp3() + ape_tag(), "", 4000),
    Case("mp3 zeros behind", lambda: mp3() + bytes(50), "", 4000),
    Case("mp3 untagged", untagged_mp3, "", 576 * MP3_NUM_FRAMES, "declares no length: a cut"),
    Case("mp3 untagged VBR", lambda: mp3(**VBR)[3 * 288 + 2 * 144 :], "", 5 * 576, "no length"),
    Case(
        "mp3 untagged VBR, loud first",
        lambda: mp3(samples="loud to quiet", **VBR)[288:],
        "frames, of which libsndfile finds",
    ),
    Case("mp3 half", part(mp3, 0.5), "is cut in MP3 frame"),
    Case("mp3 one byte short", part(mp3, -1), "is cut in MP3 frame"),
    Case("mp3 first frame cut", part(mp3, 100), "is cut in its first MP3 frame"),
    Case("mp3 last frame gone", part(lambda: mp3(**CBR), -MP3_FRAME), "declares 9 MP3 frames, 8"),
    Case("mp3 untagged, cut", part(untagged_mp3, -10), "is cut in MP3 frame 8"),
    Case("mp3 declares more", lambda: retagged_mp3(10), "declares 10 MP3 frames, 9 are there"),
    Case("mp3 declares fewer", lambda: retagged_mp3(5), "declares 5 MP3 frames, 9 are there"),
    Case("mp3 declares none", lambda: retagged_mp3(0), "declares 0 MP3 frames"),
    Case("mp3 tag without length", lambda: retagged_mp3(9, flags=0xE), "header without a length"),
    Case("mp3 junk between", lambda: mp3(**CBR)[:720] + b"junk" + mp3(**CBR)[720:], "breaks off"),
    Case("mp3 bytes behind", lambda: mp3() + b"junk", "breaks off after"),
    Case("mp3 twice", lambda: mp3(**CBR) * 2, "declares 9 MP3 frames, 19 are there"),
    Case("mp3 free bit rate", lambda: b"\xff\xf3\x08\xc4" * 500, NO_AUDIO),
    Case("mp3 605 s", lambda: untagged_mp3() * 1870, "is longer than 600 s"),
    Case("ID3v2 only", id3v2, NO_AUDIO),
    Case("ID3v2 beyond the end", lambda: b"ID3\4\0\0\x7f\x7f\x7f\x7f" + mp3(), NO_AUDIO),
]

AIFF_AU = [
    Case("aiff", aiff, "", 4000),
    Case("aiff float", lambda: encoded("AIFF", "FLOAT"), "", 4000),
    Case("aiff half", part(aiff, 0.5), "is cut: its SSND chunk declares 8008 bytes"),
    Case("aiff declares more", lambda: aiff(5000), "declares 5000 frames of 2 bytes"),
    Case("aiff declares fewer", lambda: aiff(3000), "declares 3000 frames of 2 bytes"),
    Case("aiff no frames", lambda: aiff(0), "declares no frames"),
    Case("aiff FORM size large", lambda: aiff(size=9000), "is cut: its header declares 9000"),
    Case("au", au, "", 4000, file_name="clip.au"),
    Case("au called wav", au, "", 4000, "named .wav, is AU", "clip.wav"),
    Case("au bytes behind", lambda: au(tail=b"123"), "", 4000, "3 bytes after its end"),
    Case("au half", part(au, 0.5), "is cut: its header declares 8000 bytes"),
    Case("au 20 bytes", part(au, 20), "is cut in its header"),
    Case("au no length", lambda: au(size=UNSET), STREAM),
    Case("au no frames", lambda: au(size=0), "declares no frames"),
    Case("au unknown codec", lambda: au(code=99), NO_AUDIO),
]

OTHERS = [
    Case("zeros", lambda: bytes(5000), NO_AUDIO),
    Case("ones", lambda: b"\xff" * 5000, NO_AUDIO),
    Case("noise", lambda: np.random.default_rng(2).bytes(5000), NO_AUDIO),
    Case("text", lambda: b"not audio at all\n" * 99, NO_AUDIO),
    Case("HTML error page", lambda: b"<!DOCTYPE html><html>404</html>", NO_AUDIO),
    Case("LFS pointer", lambda: b"version https://git-lfs.github.com/spec/v1\n", NO_AUDIO),
    Case("PNG", lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), NO_AUDIO),
    Case("zip of a wav", zipped, NO_AUDIO),
    Case("gzip of a wav", lambda: gzip.compress(wav()), NO_AUDIO),
    Case("M4A", lambda: b"\0\0\0\x20ftypM4A " + bytes(500), NO_AUDIO),
    Case("WebM", lambda: b"\x1a\x45\xdf\xa3" + bytes(500), NO_AUDIO),
    Case("CAF", lambda: encoded("CAF", "PCM_16"), NO_AUDIO),
    Case("W64", lambda: encoded("W64", "PCM_16"), NO_AUDIO),
    Case("VOC", lambda: encoded("VOC", "PCM_16"), NO_AUDIO),
    Case("MAT5", lambda: encoded("MAT5", "PCM_16"), NO_AUDIO),
    Case("AVI", lambda: b"RIFF\x20\0\0\0AVI " + bytes(28), NO_AUDIO),
]

CASES = [*WAV_REFUSED, *WAV_DECODED, *FLAC, *OGG, *MP3, *AIFF_AU, *OTHERS]
