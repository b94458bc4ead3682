"""A model whose `generate` does what it likes."""

import pytest
import torch

from modeltest.backends.transformers.engines import StockEngine
from modeltest.backends.transformers.fast import Limits
from modeltest.backends.transformers.stages import StageClock
from modeltest.devices.cpu import CpuDevice
from modeltest.errors import ModelError

PROMPTS = torch.tensor([[0, 5, 6], [4, 5, 6]])


class Model:
    """Whatever it is asked, it returns the same."""

    dtype = torch.float32

    def __init__(self, rows):
        self._rows = rows

    def generate(self, **_settings):
        return self._rows


def generate(rows, limits):
    engine = StockEngine(lambda *_: {}, lambda *_: None, CpuDevice(), pad_id=0)
    engine.attach(Model(rows))
    return engine.generate({"input_ids": PROMPTS}, limits, StageClock(CpuDevice()))


def going_on(num_new):
    return torch.cat([PROMPTS, torch.full((2, num_new), 7)], dim=1)


@pytest.mark.parametrize(
    ("num_new", "limits"),
    [
        (4, Limits(4)),
        (4, Limits(4, end_ids=(9,))),
        (2, Limits(4, end_ids=(9,))),
        (2, Limits(4, enough=lambda _: True)),
    ],
)
def test_what_was_asked_for_is_taken(num_new, limits):
    assert generate(going_on(num_new), limits).tokens.tolist() == [[7] * num_new] * 2


@pytest.mark.parametrize(
    ("num_new", "limits"),
    [
        (5, Limits(4)),
        (1024, Limits(4, end_ids=(9,))),
        (5, Limits(4, enough=lambda _: False)),
        (3, Limits(4)),  # nothing could end the replies
    ],
)
def test_settings_that_are_not_kept_to_are_noticed(num_new, limits):
    said = f"Model's `generate` made {num_new} tokens where 4 were asked for"
    with pytest.raises(ModelError, match=said):
        generate(going_on(num_new), limits)


@pytest.mark.parametrize(
    "rows",
    [
        torch.tensor([[7, 7, 7, 7, 7, 7], [7, 7, 7, 7, 7, 7]]),
        torch.tensor([[7], [7]]),  # replies alone, shorter than the prompts
        torch.tensor([7, 7]),
        torch.zeros(2, 6),  # a waveform
        torch.zeros(2, 1, 6),
        ("text", "speech"),
    ],
    ids=["other prompts", "replies alone", "one row", "a waveform", "waveforms", "a pair"],
)
def test_what_does_not_go_on_behind_the_prompt_is_noticed(rows):
    with pytest.raises(ModelError, match="Model's `generate` does not go on behind the prompt"):
        generate(rows, Limits(4, end_ids=(9,)))
