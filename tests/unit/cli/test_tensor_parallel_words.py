"""Which part of a `--tp` command a process is, and what keeps the ranks from being started."""

import json
import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from modeltest.backends.factory import make_backend
from modeltest.backends.transformers import tensor_parallel as group
from modeltest.cli import tensor_parallel
from modeltest.cli.main import main
from modeltest.cli.service_options import refuse_local_options
from modeltest.devices import factory
from modeltest.devices import probe as probing
from modeltest.devices.cpu import CpuDevice
from modeltest.devices.factory import Choice
from modeltest.devices.why_not import NOT_INSTALLED
from modeltest.errors import DataError, DeviceError, ModelError, UsageError
from modeltest.runlog.layout import RunPlace
from modeltest.runlog.manifest import place_record, write_manifest
from modeltest.settings.load import load_model


@pytest.fixture(autouse=True)
def _no_ranks(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "TP_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def options(tp, **others):
    given = {"task": "vocalsound_mini", "model": "qwen2_audio_tiny", "device": "auto"}
    switches = {"dp": None, "ray": None, "dry_run": False, "resume": None}
    files = {"overrides": [], "config_dir": None, "output_dir": Path("outputs")}
    return Namespace(tp=tp, **{**given, **switches, **files, **others})


def test_one_process_does_it_all_unless_it_shall_not(monkeypatch):
    assert tensor_parallel.other_role(options(1)) is None
    assert tensor_parallel.other_role(options(8, dry_run=True)) is None
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert tensor_parallel.other_role(options(4)) is None
    with pytest.raises(UsageError, match="--tp 2, but RANK=0 and WORLD_SIZE=4"):
        tensor_parallel.other_role(options(2))


def test_a_taken_port_is_named(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        monkeypatch.setenv("MASTER_PORT", port)
        with pytest.raises(UsageError, match=f"port {port}.*set MASTER_PORT to a free one"):
            tensor_parallel.other_role(options(2))


@pytest.mark.parametrize("text", ["x", "0", "65536", "-1", "²"])
def test_what_is_no_port_is_refused(monkeypatch, text):
    monkeypatch.setenv("MASTER_PORT", text)
    with pytest.raises(UsageError, match="not a port"):
        tensor_parallel.other_role(options(2))


def named(name):
    return SimpleNamespace(label="NPU", is_host=False, facts=lambda: {"name": name})


def test_each_rank_needs_a_device():
    two, npu = Choice("npu", "asked for", num_devices=2), named("Ascend910B4")
    tensor_parallel.refuse_too_many_ranks(2, two, npu)
    with pytest.raises(DeviceError, match="--tp 4: needs as many devices, and 2 NPU can be used"):
        tensor_parallel.refuse_too_many_ranks(4, two, npu)
    tensor_parallel.refuse_too_many_ranks(8, Choice("cpu", ""), SimpleNamespace(is_host=True))


def test_a_300i_duo_computes_alone():
    two = Choice("npu", "asked for", num_devices=2)
    tensor_parallel.refuse_too_many_ranks(1, two, named("Ascend310P3"))
    with pytest.raises(UsageError, match="300I DUO"):
        tensor_parallel.refuse_too_many_ranks(2, two, named("Ascend310P3"))


def test_the_null_backend_has_nothing_to_split():
    settings = load_model("null").settings
    with pytest.raises(ModelError, match="no model to split"):
        make_backend(settings, 0, CpuDevice(), 2)


@pytest.mark.parametrize("several", [{"dp": 2}, {"ray": "auto"}])
def test_one_model_is_split_or_several_are_run(several):
    with pytest.raises(UsageError, match="leave one of them out"):
        tensor_parallel.other_role(options(2, **several))


def test_a_rank_takes_the_device_of_its_number(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert tensor_parallel.device_index() == 0  # of something else's, here is no rank
    monkeypatch.setenv("RANK", "3")
    assert tensor_parallel.device_index() == 3
    monkeypatch.setenv("LOCAL_RANK", "")
    with pytest.raises(UsageError, match="LOCAL_RANK=: not a number"):
        tensor_parallel.device_index()


@pytest.fixture
def chosen(monkeypatch):
    """Lets modeltest find devices, and tells what was asked and how many ranks were started."""
    asked, started = [], []
    monkeypatch.setattr(tensor_parallel, "_run_ranks", lambda size: started.append(size) or 0)
    monkeypatch.setattr(sys, "argv", ["modeltest", "eval", "t", "m", "--tp", "auto"])
    monkeypatch.setenv("MODELTEST_CHOSEN_DEVICE", "")

    def found(choice):
        monkeypatch.setattr(factory, "choose", lambda kind: asked.append(kind) or choice)
        return SimpleNamespace(asked=asked, started=started)

    return found


def test_auto_is_every_device_that_can_be_used(chosen):
    seen = chosen(Choice("npu", "eight visible", 8))
    assert tensor_parallel.other_role(options("auto")) == 0
    assert seen.started == [8]
    assert sys.argv == ["modeltest", "eval", "t", "m", "--tp", "8"]  # the ranks' command line


def test_auto_is_one_process_on_a_cpu_which_asks_no_second_time(chosen):
    """Its devices may have files below /dev all the same."""
    on_cpu = Choice("cpu", "torch_npu is installed but CANN is not; using cpu")
    seen, given = chosen(on_cpu), options("auto")
    assert tensor_parallel.other_role(given) is None
    assert given.tp == 1
    assert sys.argv[-2:] == ["--tp", "1"]
    choice, device = tensor_parallel.own_device(given)
    assert (choice, device.kind) == (on_cpu, "cpu")
    assert (seen.asked, seen.started) == (["auto"], [])


def test_the_device_that_is_asked_for_is_counted(chosen):
    seen = chosen(Choice("cuda", "asked for", 2))
    sys.argv[-2:] = ["--tp=auto", "--device", "auto"]
    assert tensor_parallel.other_role(options("auto", device="cuda")) == 0
    assert (seen.asked, seen.started) == (["cuda"], [2])
    assert sys.argv[-3:] == ["--tp=2", "--device", "auto"]


@pytest.fixture
def of_another_architecture(checkpoint):
    config = {"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper"}
    (checkpoint / "config.json").write_text(json.dumps(config))
    extractor = {"feature_extractor_type": "WhisperFeatureExtractor"}
    (checkpoint / "preprocessor_config.json").write_text(json.dumps(extractor))
    return {"model": "qwen2_audio", "overrides": [f"model.model_path={checkpoint}"]}


def test_auto_is_one_process_for_a_model_that_cannot_be_split(chosen, of_another_architecture):
    """`mm_run.sh` asks for auto on its own account: that may not end in a refusal."""
    seen, given = (
        chosen(Choice("npu", "eight visible", 8)),
        options("auto", **of_another_architecture),
    )
    assert tensor_parallel.other_role(given) is None
    assert (given.tp, seen.asked, seen.started) == (1, [], [])


def test_a_number_is_refused_for_it_before_ranks_are_started(chosen, of_another_architecture):
    seen = chosen(Choice("npu", "eight visible", 8))
    with pytest.raises(ModelError, match="--tp 2 splits Qwen2-Audio's layers, this is Whisper"):
        tensor_parallel.other_role(options(2, **of_another_architecture))
    assert (seen.asked, seen.started) == ([], [])


def test_devices_over_which_no_model_can_be_split(chosen):
    seen = chosen(Choice("npu", "three visible", 3))
    with pytest.raises(UsageError, match=r"visible devices is 3, .*1, 2, 4 or 8: .*--tp, .*--dp"):
        tensor_parallel.other_role(options("auto"))
    assert seen.started == []


@pytest.fixture
def begun(tmp_path):
    """The folder of a run that was begun with so many ranks."""

    def make(tp):
        place = RunPlace(tmp_path, "day", "run", "m", "t", "null", "CPU", "fp32", 8, tp)
        place.run_folder.mkdir(parents=True)
        manifest = {"schema_version": 2, "command": "eval", "place": place_record(place)}
        write_manifest(place.run_folder, manifest)
        return str(place.run_folder)

    return make


def test_auto_continues_a_run_as_it_was_begun(chosen, begun):
    seen = chosen(Choice("cpu", "other devices are not needed to know"))
    assert tensor_parallel.other_role(options("auto", resume=begun(4))) == 0
    assert (seen.asked, seen.started) == ([], [4])


def test_without_tp_a_run_goes_on_as_it_was_begun(chosen, begun):
    seen = chosen(Choice("cpu", "nothing is asked"))
    sys.argv[:] = ["modeltest", "eval", "t", "m", "--resume", "last"]
    assert tensor_parallel.other_role(options(None, resume=begun(2))) == 0
    assert (seen.asked, seen.started) == ([], [2])
    assert sys.argv[-2:] == ["--tp", "2"]  # of the ranks, and of the command that continues it


def test_without_tp_one_process_does_what_was_begun_so(chosen, begun):
    seen, given = chosen(Choice("cpu", "")), options(None, resume=begun(1))
    assert tensor_parallel.other_role(given) is None
    assert (given.tp, seen.started) == (1, [])
    for several in ({"dp": 2}, {"ray": "auto"}):  # whole models
        given = options(None, **several)
        assert tensor_parallel.other_role(given) is None
        assert given.tp == 1


@pytest.mark.parametrize("tp", [None, "auto"])
def test_a_run_of_so_many_ranks_is_none(chosen, begun, tp):
    chosen(Choice("cpu", ""))
    with pytest.raises(DataError, match=r"place\.tp 1000000 is refused"):
        tensor_parallel.other_role(options(tp, resume=begun(1_000_000)))


def two_npus(name):
    seen = [probing.SeenDevice(f"npu:{index}", name, 1 << 34, 1 << 34) for index in (0, 1)]
    gpu = probing.SeenDevice("cuda:0", "310P of another maker", 1 << 34, 1 << 34)
    return probing.Probe("2.13.0", num_cuda=1, num_npu=2, torch_npu=True, devices=(gpu, *seen))


def test_auto_is_one_of_two_300i_duo_and_says_why(monkeypatch):
    """`mm_run.sh` asks for auto on its own account: that may not end in a refusal."""
    monkeypatch.setattr(tensor_parallel, "_run_ranks", lambda _: pytest.fail("it cannot be split"))
    monkeypatch.setattr(sys, "argv", ["modeltest", "eval", "t", "m", "--tp", "auto"])
    monkeypatch.setenv("MODELTEST_CHOSEN_DEVICE", "")
    monkeypatch.setattr(probing, "torch_npu_installed", lambda: True)
    monkeypatch.setattr(probing, "probe", lambda details: two_npus("Ascend310P3"))
    given = options("auto")
    assert tensor_parallel.other_role(given) is None
    assert given.tp == 1
    choice = tensor_parallel._handed_down()
    assert (choice.kind, choice.num_devices) == ("npu", 1)
    assert choice.reason.endswith(
        "2 visible; --tp auto is 1: Ascend310P3 (300I DUO) does not support tensor parallelism"
    )


def test_auto_is_both_of_two_npus_that_can_share_a_model(monkeypatch):
    monkeypatch.setattr(probing, "torch_npu_installed", lambda: True)
    monkeypatch.setattr(probing, "probe", lambda details: two_npus("Ascend910B4"))
    choice = tensor_parallel._choice_to_split("npu")
    assert choice == Choice("npu", "asked for", 2)


def test_each_command_has_a_group_of_its_own(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv(group.GROUP_VARIABLE, "of somebody else")
    tokens = {tensor_parallel._environment(2)[group.GROUP_VARIABLE] for _ in range(3)}
    assert len(tokens - {"", "of somebody else"}) == 3


@pytest.mark.parametrize(
    ("variable", "said"),
    [("2", "--tp 2 (of TP_WORLD_SIZE): "), ("4", "--tp 2: "), ("", "--tp 2: ")],
)
def test_a_service_is_not_split_and_it_is_said_who_asked_for_it(monkeypatch, variable, said):
    monkeypatch.setenv("TP_WORLD_SIZE", variable)
    with pytest.raises(UsageError) as caught:
        refuse_local_options(Namespace(tp=2))
    assert str(caught.value) == f"{said}the service splits its model itself; leave it out"


def test_wrong_settings_are_said_before_any_device_is_asked(chosen):
    seen = chosen(Choice("cpu", ""))
    with pytest.raises(UsageError, match="leave one of them out"):
        tensor_parallel.other_role(options("auto", dp=2))
    with pytest.raises(UsageError, match="unknown model 'nothing'"):
        tensor_parallel.other_role(options("auto", model="nothing"))
    assert seen.asked == []


def test_auto_is_nothing_for_ranks_that_are_started(monkeypatch, chosen):
    """Each would count for itself."""
    seen = chosen(Choice("npu", "", 8))
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UsageError, match=r"--tp auto, but RANK=1 .* the number of ranks"):
        tensor_parallel.other_role(options("auto"))
    assert seen.asked == []


@pytest.mark.parametrize("text", ["3", "0", "all", "", "-1"])
def test_what_is_no_size_is_refused(capsys, text):
    with pytest.raises(SystemExit, match="2"):
        main(["eval", "t", "m", f"--tp={text}"])
    assert "argument --tp: invalid" in capsys.readouterr().err


@pytest.fixture
def as_rank_1(monkeypatch):
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(probing, "import_torch_alone", lambda: None)


@pytest.mark.parametrize("asked", ["auto", "npu"])
def test_a_rank_takes_the_kind_of_rank_0(monkeypatch, as_rank_1, asked):
    """Its own choice would be another one."""
    monkeypatch.setattr(group, "share_kind", lambda size, kind=None: "cpu")
    monkeypatch.setattr(factory, "probe", lambda: pytest.fail("a CPU needs no looking for"))
    choice, device = tensor_parallel.own_device(options(2, device=asked))
    assert (choice.kind, device.kind) == ("cpu", "cpu")


def test_a_rank_that_cannot_have_the_kind_of_rank_0_names_it(monkeypatch, as_rank_1, capsys):
    monkeypatch.setattr(group, "share_kind", lambda size, kind=None: "npu")
    found = probing.Probe("2.13.0", no_npu=NOT_INSTALLED, no_cuda=NOT_INSTALLED)
    monkeypatch.setattr(factory, "probe", lambda: found)
    code = main(["eval", "vocalsound_mini", "qwen2_audio_tiny", "--tp", "2"])
    assert code == 5
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "modeltest: rank 1 cannot compute on npu as rank 0 does: "
        "--device npu: torch_npu is not installed"
    )


def test_rank_0_tells_the_kind_that_it_chose(monkeypatch):
    told = []
    monkeypatch.setattr(group, "share_kind", lambda *kind: told.append(kind))
    monkeypatch.setattr(factory, "choose", lambda kind: Choice("cpu", f"{kind} was asked"))
    monkeypatch.setenv("RANK", "0")
    choice, _ = tensor_parallel.own_device(options(2, device="auto"))
    assert (choice.reason, told) == ("auto was asked", [(2, "cpu")])
    tensor_parallel.own_device(options(2, dry_run=True, device="auto"))
    tensor_parallel.own_device(options(1, device="auto"))
    assert len(told) == 1  # one process shows a plan, or does it all


@pytest.mark.parametrize("damage", ["cut", "code"])
def test_a_rank_reads_nothing_of_a_checkpoint_that_is_damaged_or_runs_code(
    monkeypatch, as_rank_1, capsys, checkpoint, damage
):
    """Each rank reads a folder, which on another host may hold other files than rank 0's."""
    if damage == "cut":
        (checkpoint / "model.safetensors").write_bytes(b"\x40")
    else:
        config = json.loads((checkpoint / "config.json").read_text())
        (checkpoint / "config.json").write_text(json.dumps({**config, "auto_map": {"a": "b.C"}}))
    monkeypatch.setattr(group, "share_kind", lambda size: pytest.fail("it waits for rank 0"))
    model = ("qwen2_audio_tiny", "--set", f"model.model_path={checkpoint}")
    assert main(["eval", "vocalsound_mini", *model, "--tp", "2"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("modeltest: ")
    assert str(checkpoint) in line
    assert {"cut": "not a whole safetensors file", "code": "auto_map"}[damage] in line


def test_a_model_in_one_process_has_nobody_to_dismiss_and_loads_nothing_for_it():
    code = (
        "import sys\nfrom modeltest.cli.tensor_parallel import dismiss_ranks\n"
        "dismiss_ranks(None, 1)\nsys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == 0
