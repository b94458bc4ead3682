"""`modeltest check` on machines that are not this one."""

import dataclasses

import pytest

from modeltest.cli import machine_rows as module
from modeltest.cli.main import main
from modeltest.devices.probe import Hang, Probe, SeenDevice
from modeltest.devices.vendor_tool import ToolAnswer
from modeltest.devices.why_not import NOT_INSTALLED, WhyNot

NO_CUDA = WhyNot("torch is built without CUDA", "install a CUDA build of torch")
NO_CANN = WhyNot(
    "torch_npu is installed but CANN is not: libhccl.so not found",
    "install CANN and source its set_env.sh",
)
NPUS = tuple(
    SeenDevice(f"npu:{index}", "Ascend910B4", 32_000_000_000, 31_000_000_000) for index in range(2)
)
WITH_NPUS = Probe(
    "2.10.0+cpu", num_npu=2, torch_npu=True, torch_npu_imports=True, no_cuda=NO_CUDA, devices=NPUS
)
NO_CANN_HERE = Probe("2.10.0+cpu", torch_npu=True, no_npu=NO_CANN, no_cuda=NO_CUDA)
NO_TOOL = ToolAnswer(why_not="is not installed", installed=False)
PLAIN = Probe("2.13.0+cpu", no_npu=NOT_INSTALLED, no_cuda=NO_CUDA)


@pytest.fixture
def check(capsys, monkeypatch):
    """`modeltest check` on a machine: exit code, and per row its mark, detail and advice."""
    for name in ("ASCEND_RT_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "PYTORCH_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)

    def run(found, *arguments, packages=(), cann="", ascend="", nvidia="", tools=()):
        answers = module._Answers(
            found, **{"npu_smi": NO_TOOL, "nvidia_smi": NO_TOOL, **dict(tools)}
        )
        known = {"transformers": "5.14.1", "torch_npu": "2.10.0.post4", **dict(packages)}

        monkeypatch.setattr(module, "_version", lambda name: known[name])
        monkeypatch.setattr(module, "_ask", lambda: answers)
        monkeypatch.setattr("modeltest.devices.cann.cann_version", lambda environ: cann or None)
        monkeypatch.setattr("modeltest.devices.driver.ascend_driver", lambda: ascend or None)
        monkeypatch.setattr("modeltest.devices.driver.nvidia_driver", lambda: nvidia or None)
        code = main(["check", *arguments])
        rows, what = {}, ""
        for line in capsys.readouterr().out.splitlines():
            if line.startswith(" "):
                rows[what][2] = line.strip()
            else:
                mark, what, detail = line.split(maxsplit=2)
                rows[what] = [mark, detail, ""]
        return code, rows

    return run


def test_an_ascend_machine_that_is_well(check):
    code, rows = check(WITH_NPUS, cann="9.1.0", ascend="25.2.0")
    assert code == 0
    assert list(rows) == [
        "python", "driver", "CANN", "torch", "torch_npu", "transformers", "device", "memory",
        "audio", "versions",
    ]  # fmt: skip
    assert {mark for mark, _, _ in rows.values()} == {"✓"}
    assert {advice for _, _, advice in rows.values()} == {""}
    assert rows["driver"][1] == "Ascend 25.2.0"
    assert rows["device"][1] == (
        "npu (the first of npu, cuda, cpu that is usable, 2 visible), 2 × Ascend910B4"
    )
    assert rows["memory"][1].endswith("; npu:0 32.0 GB, 31.0 GB free; npu:1 32.0 GB, 31.0 GB free")
    assert "vllm-ascend" in rows["versions"][1]


def test_torch_npu_without_cann_leaves_the_cpu(check):
    code, rows = check(NO_CANN_HERE)
    assert code == 0
    for what in ("driver", "CANN", "torch_npu", "device"):
        assert rows[what][0] == "!", what
        assert rows[what][2], what
    assert rows["device"][1] == f"cpu ({NO_CANN.reason}; using cpu)"
    assert "torch_npu" not in rows["versions"][1], "it takes no part"


def test_what_an_npu_lacks_is_bad_when_an_npu_is_asked_for(check):
    code, rows = check(NO_CANN_HERE, "--device", "npu")
    assert code == 2
    for what in ("driver", "CANN", "torch_npu", "device"):
        assert rows[what][0] == "✗", what
    assert "libhccl.so not found" in rows["device"][1]


@pytest.mark.parametrize(
    ("packages", "cann", "ascend", "what", "said"),
    [
        ({"torch_npu": "2.9.0"}, "8.5.0", "25.2.0", "torch_npu", "not of one version"),
        ({"torch_npu": "2.10.0"}, "9.1.0", "25.2.0", "CANN", "made for CANN 9.0.0"),
        ({}, "9.1.0", "25.0.1", "driver", "wants a driver from 25.2 to 26.1"),
        ({"transformers": "5.23.0"}, "9.1.0", "25.2.0", "versions", "tested: torch 2.10.0 with"),
        ({}, "", "25.2.0", "CANN", "ASCEND_HOME_PATH"),
        ({}, "9.1.0", "", "driver", "npu-smi info"),
    ],
)
def test_versions_that_do_not_fit_are_warned_of(check, packages, cann, ascend, what, said):
    code, rows = check(WITH_NPUS, packages=packages, cann=cann, ascend=ascend)
    assert code == 0
    assert rows[what][0] == "!"
    assert said in rows[what][2]


def test_a_set_that_was_only_simulated_is_no_recommendation(check):
    found = Probe("2.13.0+cpu", num_npu=1, torch_npu=True, torch_npu_imports=True)
    packages = {"torch_npu": "2.13.0", "transformers": "5.23.0"}
    _, rows = check(found, packages=packages, cann="9.1.0", ascend="25.2.0")
    assert rows["versions"][0] == "!"
    assert "never run on Ascend" in rows["versions"][1]
    assert "no table" in rows["CANN"][2]


def test_a_simulated_npu_is_called_so(check):
    devices = (SeenDevice("npu:0", "Simulated NPU", 4_000_000_000, 4_000_000_000),)
    found = Probe("2.13.0", num_npu=1, torch_npu=True, torch_npu_imports=True, devices=devices)
    _, rows = check(found, packages={"torch_npu": "2.13.0+simulated"})
    assert rows["device"][0] == "!"
    assert "INVALID" in rows["device"][2]


def test_on_a_cpu_that_was_asked_for_the_npus_versions_do_not_count(check):
    found = Probe("2.13.0", num_npu=1, torch_npu=True, torch_npu_imports=True)
    packages = {"torch_npu": "2.13.0", "transformers": "5.23.0"}
    _, rows = check(found, "--device", "cpu", packages=packages, cann="9.1.0")
    assert rows["device"] == ["✓", "cpu (asked for)", ""]
    assert rows["versions"][0] == "✓"


def test_a_misread_list_of_devices_is_bad(check, monkeypatch):
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "1, 2")
    code, rows = check(WITH_NPUS, cann="9.1.0", ascend="25.2.0")
    assert code == 2
    assert rows["device"][0] == "✗"
    assert "'1, 2'" in rows["device"][1]


def test_a_machine_of_gpus_has_no_rows_about_npus(check):
    gpus = (SeenDevice("cuda:0", "NVIDIA H100", 85_000_000_000, 84_000_000_000),)
    found = Probe("2.13.0+cu130", num_cuda=1, no_npu=NOT_INSTALLED, devices=gpus)
    code, rows = check(found, nvidia="570.86.15", packages={"transformers": "5.23.0"})
    assert code == 0
    assert rows["driver"][:2] == ["✓", "NVIDIA 570.86.15"]
    assert not {"CANN", "torch_npu"} & rows.keys()
    assert rows["device"][1].endswith("1 visible), 1 × NVIDIA H100")


def test_a_driver_without_torch_npu_is_told(check):
    _, rows = check(PLAIN, ascend="25.2.0")
    assert rows["torch_npu"] == ["!", "not installed", "pip install torch_npu==2.13.0"]
    assert rows["CANN"][:2] == ["!", "not found"]


@pytest.mark.parametrize(
    ("version", "mark"), [("", "✗"), ("4.46.1", "✗"), ("4.46.2", "✓"), ("4.57.0.dev0", "✓")]
)
def test_transformers_is_there_and_new_enough(check, version, mark):
    code, rows = check(PLAIN, packages={"transformers": version})
    assert rows["transformers"][0] == mark
    assert code == (2 if mark == "✗" else 0)


def test_without_torch_the_other_rows_are_shown(check):
    found = Probe("", "torch is not installed", no_npu=NOT_INSTALLED, no_cuda=NO_CUDA)
    code, rows = check(found)
    assert code == 2
    assert rows["torch"][:2] == ["✗", "torch is not installed"]
    assert rows["audio"][0] == "✓"


@pytest.mark.parametrize(("library", "mark"), [("1.0.31", "!"), ("1.1.0", "✓")])
def test_an_old_libsndfile_reads_no_mp3(check, monkeypatch, library, mark):
    facts = {"rule": "1", "soundfile": "0.12", "libsndfile": library}
    monkeypatch.setattr("modeltest.audio.decode.audio_rule_facts", lambda: facts)
    _, rows = check(PLAIN)
    assert rows["audio"][0] == mark


def test_a_device_that_cannot_be_opened_is_warned_of(check):
    gpus = (
        SeenDevice("cuda:0", "", 0, 0, "CUDA error: out of memory\nat …"),
        SeenDevice("cuda:1", "NVIDIA H100", 85_000_000_000, 84_000_000_000),
    )
    found = Probe("2.13.0+cu130", num_cuda=2, no_npu=NOT_INSTALLED, devices=gpus)
    code, rows = check(found, nvidia="570.86.15", packages={"transformers": "5.23.0"})
    assert code == 0
    mark, detail, advice = rows["memory"]
    assert mark == "!"
    assert "cuda:0 cannot be opened (CUDA error: out of memory)" in detail
    assert "cuda:1 85.0 GB, 84.0 GB free" in detail
    assert "end what uses it" in advice


HUNG_TOOL = ToolAnswer(why_not="npu-smi did not answer within 8 s", hung=True)


def hanging(asks, reason, **known):
    why = WhyNot(reason, "see what is wrong")
    return Probe(**{"torch_version": "2.10.0", **known}, hang=Hang(asks, why), no_npu=why)


@pytest.mark.parametrize(
    ("found", "tools", "what", "said"),
    [
        (
            hanging("torch", "torch was not imported within 8 s", torch_version=""), {},
            "torch", "torch was not imported within 8 s",
        ),
        (
            hanging("torch_npu", "torch_npu was not imported within 8 s", torch_npu=True), {},
            "torch_npu", "2.10.0.post4, torch_npu was not imported within 8 s",
        ),
        (
            hanging("cuda", "the GPU driver did not answer within 8 s"), {},
            "driver", "NVIDIA, version not found; the GPU driver did not answer within 8 s",
        ),
        (
            hanging("npu", "the Ascend driver did not answer within 8 s", torch_npu=True),
            {"npu_smi": HUNG_TOOL},
            "driver",
            "Ascend, version not found; npu-smi did not answer within 8 s; the Ascend driver did "
            "not answer within 8 s",
        ),
        (
            PLAIN, {"npu_smi": HUNG_TOOL},
            "driver", "Ascend, version not found; npu-smi did not answer within 8 s",
        ),
        (
            PLAIN, {"nvidia_smi": ToolAnswer(why_not="nvidia-smi did not answer", hung=True)},
            "driver", "NVIDIA, version not found; nvidia-smi did not answer",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_what_did_not_answer_is_bad_and_the_other_rows_are_shown(
    check, found, tools, what, said, device
):
    code, rows = check(found, "--device", device, tools=tools)
    assert code == 2
    assert rows[what][:2] == ["✗", said]
    assert rows[what][2], "what to do"
    assert {"python", "torch", "transformers", "device", "memory", "audio"} <= rows.keys()


@pytest.mark.parametrize("version", ["2.10.0.post4+gitabc1234", "2.9.0+gitabc1234"])
def test_a_torch_npu_without_metadata_shows_its_own_version(check, version):
    """As after a build from source that was not installed by pip."""
    found = dataclasses.replace(WITH_NPUS, torch_npu_version=version)
    code, rows = check(found, packages={"torch_npu": ""}, cann="9.1.0", ascend="25.2.0")
    fits = version.startswith("2.10.0")
    assert code == 0
    assert rows["torch_npu"][:2] == ["✓" if fits else "!", version]
    assert ("not of one version" in rows["torch_npu"][2]) is not fits


def test_a_torch_npu_of_unknown_version_is_installed(check):
    """Without metadata it cannot tell a version where it cannot be imported."""
    code, rows = check(NO_CANN_HERE, packages={"torch_npu": ""})
    assert code == 0
    assert rows["torch_npu"][:2] == ["!", f"version not found, {NO_CANN.reason}"]
    assert rows["torch_npu"][2] == NO_CANN.advice


def test_the_version_that_is_imported_counts(check):
    """Not that of an older package whose metadata was left behind."""
    found = dataclasses.replace(WITH_NPUS, torch_npu_version="2.10.0.post4")
    _, rows = check(found, packages={"torch_npu": "2.9.0"}, cann="9.1.0", ascend="25.2.0")
    assert rows["torch_npu"] == ["✓", "2.10.0.post4", ""]


def test_the_vendors_tools_know_the_drivers_version(check):
    table = "| npu-smi 25.2.0                   Version: 25.2.0     |\n"
    _, rows = check(WITH_NPUS, cann="9.1.0", tools={"npu_smi": ToolAnswer(table)})
    assert rows["driver"] == ["✓", "Ascend 25.2.0", ""]
    _, rows = check(PLAIN, tools={"nvidia_smi": ToolAnswer("550.54.15\n550.54.15\n")})
    assert rows["driver"] == ["✓", "NVIDIA 550.54.15", ""]


@pytest.mark.parametrize("tool", ["npu_smi", "nvidia_smi"])
def test_a_tool_that_finds_no_driver_is_warned_of(check, tool):
    code, rows = check(PLAIN, tools={tool: ToolAnswer(why_not="it ended with status 9: no driver")})
    assert code == 0
    assert rows["driver"][0] == "!"
    assert "version not found; it ended with status 9: no driver" in rows["driver"][1]
    assert rows["driver"][2]
