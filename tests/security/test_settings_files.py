"""Settings files: no constructors, no bombs, no blocking, no names that are more than names."""

import os
import time

import pytest

from modeltest.errors import SettingsError
from modeltest.settings.load import load_task

CONSTRUCTORS = [
    '!!python/object/apply:os.system ["touch CANARY"]',
    "!!python/object/apply:subprocess.check_output [[touch, CANARY]]",
    '!!python/object/new:os.system ["touch CANARY"]',
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/object:__main__.Anything {}",
    "!!python/tuple [1, 2]",
    "!<tag:yaml.org,2002:python/object/apply:os.system> [touch CANARY]",
]
ALIAS_BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"
BAD_STEMS = [
    ".", "a b", "-x", ".hidden", "a\nb", "a\x1b[31mb", "=x", "a\u202eb", "x" * 250, "é" * 60, "a'b",
    "$(touch CANARY)", "a;b", "a\tb", "~", "a\udcffb",
]  # fmt: skip
GOOD_STEMS = ["mini", "my-task_2.1", "任务", "_x", "x" * 100]


def task_file(folder, stem, text="extends: vocalsound_mini\n"):
    path = folder / f"{stem}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("value", CONSTRUCTORS)
@pytest.mark.parametrize("where", ["prompt: {}", "{}", "label: {{pattern: {}}}"])
def test_constructors_make_nothing(tmp_path, monkeypatch, value, where):
    monkeypatch.chdir(tmp_path)
    path = task_file(tmp_path, "canary", f"extends: vocalsound_mini\n{where.format(value)}\n")
    with pytest.raises(SettingsError):
        load_task(str(path))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", CONSTRUCTORS)
def test_overrides_make_nothing(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError):
        load_task("vocalsound_mini", [f"prompt={value}"])
    assert list(tmp_path.iterdir()) == []


def test_the_canary_would_sing(tmp_path, monkeypatch):
    import yaml

    monkeypatch.chdir(tmp_path)
    yaml.load(CONSTRUCTORS[0], yaml.UnsafeLoader)
    assert (tmp_path / "CANARY").exists()


def test_an_alias_bomb_is_refused_at_once(tmp_path):
    path = task_file(tmp_path, "bomb", ALIAS_BOMB)
    start_s = time.monotonic()
    with pytest.raises(SettingsError, match="anchors"):
        load_task(str(path))
    assert time.monotonic() - start_s < 1


@pytest.mark.parametrize("stem", BAD_STEMS, ids=ascii)
def test_a_stem_that_is_no_name_is_one_line(tmp_path, stem):
    try:
        path = task_file(tmp_path, stem)
    except OSError:
        pytest.skip("the file system refuses the name itself")
    with pytest.raises(SettingsError, match="filed under the file's name") as caught:
        load_task(str(path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("stem", GOOD_STEMS)
def test_names_that_people_use_stay(tmp_path, stem):
    assert load_task(str(task_file(tmp_path, stem))).name == stem


def put(kind, path):
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a link to itself":
        path.symlink_to(path)
    elif kind == "a parent that is a FIFO":
        os.mkfifo(path.with_name("parent.yaml"))
        path.write_text("extends: parent.yaml\n")
    else:
        path.write_bytes(b"#" * (1 << 21))


KINDS = [
    "a FIFO", "a link to a device", "a folder", "a link to itself", "a parent that is a FIFO",
    "two megabytes",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_settings_file_never_blocks(command, tmp_path, kind):
    put(kind, tmp_path / "odd.yaml")
    command("eval", "odd.yaml", "null", seconds=20).one_line_error()


def test_listing_a_folder_of_odd_files_never_blocks(command, tmp_path):
    folder = tmp_path / "config" / "task"
    folder.mkdir(parents=True)
    for number, kind in enumerate(KINDS[:4]):
        put(kind, folder / f"odd{number}.yaml")
    (folder / "gone.yaml").symlink_to("nowhere")
    (folder / "a\x1b[31m\nb.yaml").write_text("# forged\x1b]0;title\x07\n")
    done = command("list", "tasks", "--config-dir", "config", seconds=20)
    assert done.code == 0, done.err
    assert "odd3" in done.out
    assert "\x1b" not in done.out
    command("eval", "nonsense", "null", "--config-dir", "config", seconds=20).one_line_error()


def test_a_path_cannot_take_a_secret_from_the_environment(command):
    done = command(
        "eval", "vocalsound", "null", "--set", "task.local_dataset_path=/data/${MY_API_KEY}",
        MY_API_KEY="canary-5be1",
    )  # fmt: skip
    assert "MY_API_KEY may hold a secret" in done.one_line_error()
    assert "canary-5be1" not in done.err
