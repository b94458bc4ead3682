"""No way leads to audioread, which is what needs a patched librosa on a MindIE server.

librosa imports audioread when it is asked to resample, so a stand-in takes its place that
tells who asks anything of it. `librosa.load` does: it looks for audioread's back ends, and
tries to start ffmpeg to do so, whatever the file.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import modeltest
from modeltest.audio.decode import decode
from modeltest.records import AudioSource

PACKAGE = Path(modeltest.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
# At another rate than the model's, so that all of them are resampled by librosa.
CLIPS = {
    "wav": ("WAV", "PCM_16", 44_100),
    "flac": ("FLAC", "PCM_16", 22_050),
    "mp3": ("MP3", None, 44_100),
    "ogg": ("OGG", "VORBIS", 48_000),
    "opus": ("OGG", "OPUS", 48_000),
    "aiff": ("AIFF", "PCM_16", 8_000),
    "au": ("AU", "PCM_16", 8_000),
}
STAND_IN = """
from pathlib import Path

def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    with Path(__file__).with_name("asked").open("a") as file:
        file.write(name + "\\n")
    raise RuntimeError("audioread was asked for " + name)
"""
IN_PROCESS = """
import sys
from modeltest.audio.decode import decode, inspect
from modeltest.errors import AudioError
from modeltest.records import AudioSource
for path in sys.argv[1:]:
    for look in (inspect, lambda source: decode(source, 16_000)):
        try:
            print(path.rpartition(".")[2], look(AudioSource(path, path=path)).sha256)
        except AudioError as error:
            print("refused", error)
assert "librosa.core.audio" in sys.modules and "audioread" in sys.modules
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """One clip per container."""
    folder = tmp_path_factory.mktemp("clips")
    for number, (ending, (container, subtype, rate)) in enumerate(CLIPS.items()):
        tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate)
        path = folder / f"f{number:04d}_0_cough.{ending}"
        soundfile.write(path, tone, rate, format=container, subtype=subtype)
    return folder


@pytest.fixture
def run(tmp_path):
    """Runs Python with the stand-in, and says what was asked of it."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "audioread.py").write_text(STAND_IN)

    def _run(*arguments):
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'path'}:{PACKAGE.parent}"}
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250,
            check=False,
        )  # fmt: skip
        asked = tmp_path / "path" / "asked"
        return done, asked.read_text().split() if asked.exists() else []

    return _run


def test_every_container_and_a_bad_file_are_read_without_it(run, clips, tmp_path):
    bad = tmp_path / "bad.mp3"
    bad.write_bytes(b"ID3\x04" + bytes(range(256)) * 40)
    paths = [*sorted(clips.iterdir()), bad]
    done, asked = run("-c", IN_PROCESS, *paths)
    assert (done.returncode, asked) == (0, []), done.stderr
    lines = done.stdout.splitlines()
    expected = {path.suffix[1:]: decode(AudioSource("x", path=path), 16_000).sha256
                for path in paths[:-1]}  # fmt: skip
    assert [line.split()[0] for line in lines[-2:]] == ["refused", "refused"]
    assert {tuple(line.split()) for line in lines[:-2]} == set(expected.items())


@pytest.mark.parametrize("model", ["null", "qwen2_audio_tiny"])
def test_an_evaluation_goes_without_it(run, clips, model):
    done, asked = run("-m", "modeltest", "eval", "vocalsound", model, "--device", "cpu",
                      "--set", f"task.local_dataset_path={clips}",
                      "--set", "task.max_new_tokens=4")  # fmt: skip
    assert asked == [], done.stderr
    assert f"{len(CLIPS)} samples" in done.stderr
    assert done.stdout.splitlines()[0].split(":")[0] in {"VALID", "INVALID"}  # as the source is
    assert "samples failed" not in done.stdout


def test_the_stand_in_tells_when_it_is_asked(run, clips):
    [clip] = clips.glob("*.wav")
    done, asked = run("-c", "import librosa, sys; librosa.load(sys.argv[1])", clip)
    assert done.returncode != 0
    assert asked == ["available_backends"]


def librosa_names(tree):
    """What a module takes from librosa or audioread."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            # `import librosa.core` binds the name librosa, and is one more way to audioread.
            yield from (a.name for a in node.names if a.name.startswith(("librosa.", "audioread")))
            yield from (a.asname for a in node.names if a.name == "librosa" and a.asname)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.split(".")[0] in {"librosa", "audioread"}:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            whole = ast.unparse(node)
            if whole.startswith(("librosa.", "audioread.")) or "audioread" in node.attr:
                yield whole


def test_librosa_resamples_and_does_nothing_else():
    used = {
        name
        for path in SOURCES
        for name in librosa_names(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert used == {"librosa.resample"}


@pytest.mark.parametrize(
    "code",
    [
        "import librosa\nlibrosa.load(path)",
        "import librosa as l",
        "from librosa import load",
        "from librosa.core.audio import load",
        "import librosa.core.audio",
        "import audioread",
        "from audioread import audio_open",
        "librosa.core.audio.__audioread_load(path)",
    ],
)
def test_other_ways_to_use_it_are_seen(code):
    assert set(librosa_names(ast.parse(code))) - {"librosa.resample"}
