"""How each kind of service spells things: where it differs from the others, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from modeltest.settings.schema import ModelSettings

SampleFormat = Literal["pcm16", "float32"]
AudioPart = Literal["audio_url", "audio_url_text", "input_audio"]


@dataclass(frozen=True, slots=True)
class Preset:
    """One kind of service.

    Attributes:
        base_url: Where it listens unless told otherwise; empty where nobody can know.
        audio_part: The form of a clip in a request.
        audio_subtype: The MIME subtype of a data URI.
        health: Routes that answer 200 when it is well; the first that exists counts.
        greedy: Keys beside `temperature` that make decoding greedy and plain.
        asks_for_usage: A stream counts tokens only when `stream_options` asks for it.
        takes_zero_seed: Whether 0 is a seed.
        can_ignore_eos: Whether it knows the key.
        media_root: The only folder below which it reads local files; None: it has a rule of
            its own.
    """

    base_url: str
    audio_part: AudioPart
    audio_subtype: str
    health: tuple[str, ...]
    greedy: Mapping[str, Any]
    asks_for_usage: bool
    takes_zero_seed: bool
    can_ignore_eos: bool
    media_root: Path | None = None


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # audio/wav is refused there; seeds begin at 1; 1026 is the management's port.
        "mindie": Preset(
            base_url="http://127.0.0.1:1025",
            audio_part="audio_url",
            audio_subtype="x-wav",
            health=("/health", "/v2/health/ready"),
            greedy={"do_sample": False, "repetition_penalty": 1.0},
            asks_for_usage=False,
            takes_zero_seed=False,
            can_ignore_eos=True,
            media_root=Path("/data/multimodal_inputs"),
        ),
        # A repetition penalty in the checkpoint's generation_config.json counts unless it is sent.
        "vllm": Preset(
            base_url="http://127.0.0.1:8000",
            audio_part="audio_url",
            audio_subtype="wav",
            health=("/health",),
            greedy={"repetition_penalty": 1.0},
            asks_for_usage=True,
            takes_zero_seed=True,
            can_ignore_eos=True,
        ),
        "openai": Preset(
            base_url="",
            audio_part="input_audio",
            audio_subtype="wav",
            health=(),
            greedy={},
            asks_for_usage=True,
            takes_zero_seed=True,
            can_ignore_eos=False,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Wire:
    """A preset with the settings' own choices.

    Attributes:
        audio_part: The form of a clip.
        audio_subtype: The MIME subtype of a data URI.
        sample_format: Samples of the WAV file.
        asks_for_usage: See `Preset`.
        form: `parts` or `tgi`, of `/generate`.
    """

    audio_part: AudioPart
    audio_subtype: str
    sample_format: SampleFormat
    asks_for_usage: bool
    form: Literal["parts", "tgi"]


def preset_of(settings: ModelSettings) -> Preset:
    """The preset that the settings name, or that their backend is usually found with."""
    usual = "mindie" if settings.backend == "generate" else "openai"
    return PRESETS[settings.service or usual]


def wire_of(settings: ModelSettings) -> Wire:
    """How requests are spelled."""
    preset, own = preset_of(settings), settings.request
    return Wire(
        audio_part=own.audio_part or preset.audio_part,
        audio_subtype=own.audio_subtype or preset.audio_subtype,
        sample_format=own.sample_format,
        asks_for_usage=preset.asks_for_usage,
        form=own.form,
    )


def base_url_of(settings: ModelSettings) -> str:
    """The service's address without a slash at its end, and without `/v1`; may be empty."""
    url = (settings.base_url or preset_of(settings).base_url).rstrip("/")
    return url.removesuffix("/v1")


def sampling_of(settings: ModelSettings, seed: int) -> dict[str, Any]:
    """Keys that pin greedy decoding."""
    preset, is_tgi = preset_of(settings), settings.request.form == "tgi"
    # TGI's rule: a temperature has to be above 0, and do_sample decides.
    temperature = {} if is_tgi else {"temperature": 0}
    with_seed = {"seed": seed} if seed or (preset.takes_zero_seed and not is_tgi) else {}
    always = {"do_sample": False} if is_tgi else {}
    return {**temperature, **preset.greedy, **always, **with_seed}
