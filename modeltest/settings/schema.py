"""The shape of the settings files: pydantic models, strict, frozen and inert.

Nothing here touches the file system, the network, the environment or a device.
"""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

AgeRange = Annotated[str, Field(pattern=r"^\d{1,3}-\d{1,3}$")]
PathText = Annotated[Path, Field(strict=False)]  # strict mode would refuse the file's text

_RESERVED_LABELS = {"truth", "unparsed", "error", "total", "validity"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class MultimodalSettings(_Strict):
    """`mm_model` of a model file.

    Attributes:
        warm_up_audio_path: Clips to run once before the evaluation is timed; without
            any, the first sample's clip serves.
    """

    warm_up_audio_path: tuple[PathText, ...] = Field(default=(), strict=False)


class ModelSettings(_Strict):
    """One file of `config/model/`.

    Attributes:
        backend: Which backend runs the model.
        model_path: Folder of the checkpoint (config.json, safetensors, processor files).
        data_type: Precision of weights and activations.
        attention: Attention implementation of transformers.
        engine: `fast` encodes the batch's longest clip only, which is exact; `stock` encodes
            30 s for every clip as transformers' `generate` does, for reference.
        batch_size: Requests per call of the backend unless `--bs` says otherwise.
        mm_model: Settings of the multimodal part.
    """

    backend: Literal["transformers", "null"] = "transformers"
    model_path: PathText | None = None
    data_type: Literal["bf16", "fp16", "fp32"] = "bf16"
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    engine: Literal["fast", "stock"] = "fast"
    batch_size: int = Field(default=8, ge=1)
    mm_model: MultimodalSettings = MultimodalSettings()


class ChoiceSettings(_Strict):
    """One option of a multiple-choice question.

    Attributes:
        letter: The capital letter that the prompt shows.
        label: The label as the data spells it (`throatclearing`).
        text: The option as the prompt spells it (`Throat clearing`).
        words: Other words by which a reply may name the option (`laughing`, `笑声`).
    """

    letter: Annotated[str, Field(pattern=r"^[A-Z]$")]
    label: Annotated[str, Field(min_length=1)]
    text: Annotated[str, Field(min_length=1)]
    words: tuple[str, ...] = Field(default=(), strict=False)


class LabelSettings(_Strict):
    """How a sample's label and metadata are found.

    Attributes:
        source: `file_name`: groups of `pattern`; `folder`: the name of the file's folder;
            `table`: rows of `table`.
        pattern: Regular expression over the file's stem, matched whole. Group `label` is
            the label; every other named group becomes metadata.
        table: CSV file below the data folder with the columns `audio` (path below the data
            folder) and `label`; every other column becomes metadata.
        rename: Per group or column, what its values are called (`gender: {f: female}`).
    """

    source: Literal["file_name", "folder", "table"] = "file_name"
    pattern: str = r"(?:.*_)?(?P<label>[^_]+)"
    table: str = "labels.csv"
    rename: dict[str, dict[str, str]] = Field(default_factory=dict)

    @field_validator("pattern")
    @classmethod
    def _pattern_names_a_label(cls, value: str) -> str:
        try:
            groups = re.compile(value).groupindex
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if "label" not in groups:
            raise ValueError("needs a group (?P<label>…)")
        return value


class SliceSettings(_Strict):
    """By which metadata the results are broken down.

    Attributes:
        by: Metadata keys, one set of rows per value.
        age_ranges: Years, both ends included; rows `age=18-25` where the age is known.
    """

    by: tuple[str, ...] = Field(default=(), strict=False)
    age_ranges: tuple[AgeRange, ...] = Field(default=(), strict=False)

    @field_validator("by")
    @classmethod
    def _slices_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a key stands twice; its samples would be counted twice")
        taken = [key for key in value if key in {"all", "class", "age"} or "=" in key]
        if taken:
            raise ValueError(f"{taken[0]!r} cannot be a slice; its rows would mix with others")
        return value

    @field_validator("age_ranges")
    @classmethod
    def _ages_are_apart(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        bounds = sorted(tuple(int(age) for age in each.split("-")) for each in value)
        ends = [age for pair in bounds for age in pair]
        if any(low > high for low, high in bounds):
            raise ValueError("a range begins after its end")
        if any(before >= after for before, after in zip(ends[1::2], ends[2::2], strict=False)):
            raise ValueError("two ranges overlap; their samples would be counted twice")
        return value


class TaskSettings(_Strict):
    """One file of `config/task/`.

    Attributes:
        kind: What sort of question it is.
        version: Changes whenever the same reply could get another score.
        local_dataset_path: The data folder.
        expected_samples: Clips in the official test split; another count is a warning.
        label: Where labels and metadata come from.
        prompt_format: `raw` or `chat`.
        prompt: The question; `{choices}` becomes `A: Laughter, B: Sigh, …`.
        raw_prompt: The whole raw input around `{audio}` (the clip) and `{prompt}`.
        choices: The options in the order of their letters.
        answer: The rule that reads an answer out of a reply.
        max_new_tokens: Longest reply.
        stop_at_answer: End a reply that began with an option's letter and name: faster, the
            same answer, a shorter text.
        long_audio: What becomes of clips longer than the model hears: an error of the
            sample, or cut to that length.
        slices: How the results are broken down.
        metrics: What is reported of every subset, beside the rates; both are part of every
            result.
    """

    kind: Literal["multiple_choice"] = "multiple_choice"
    version: Annotated[str, Field(min_length=1)] = "1.0"
    local_dataset_path: PathText | None = None
    expected_samples: int | None = Field(default=None, ge=1)
    label: LabelSettings = LabelSettings()
    prompt_format: Literal["raw", "chat"] = "raw"
    prompt: Annotated[str, Field(min_length=1)]
    raw_prompt: str = "{audio}{prompt}"
    choices: tuple[ChoiceSettings, ...] = Field(min_length=2, strict=False)
    answer: Literal["letter_or_name"] = "letter_or_name"
    max_new_tokens: int = Field(default=65, ge=1)
    stop_at_answer: bool = False
    long_audio: Literal["error", "truncate"] = "error"
    slices: SliceSettings = SliceSettings()
    metrics: tuple[Literal["acc", "acc_legacy"], ...] = Field(
        default=("acc", "acc_legacy"), strict=False
    )

    @field_validator("prompt")
    @classmethod
    def _prompt_placeholders(cls, value: str) -> str:
        _only_placeholders(value, {"choices"})
        return value

    @field_validator("raw_prompt")
    @classmethod
    def _raw_prompt_placeholders(cls, value: str) -> str:
        found = _only_placeholders(value, {"audio", "prompt"})
        if found != {"audio", "prompt"}:
            raise ValueError("needs both {audio} and {prompt}")
        return value

    @field_validator("choices")
    @classmethod
    def _choices_differ(cls, value: tuple[ChoiceSettings, ...]) -> tuple[ChoiceSettings, ...]:
        for what in ("letter", "label", "text"):
            # Data may spell a label otherwise; see tasks/data/labels.py.
            values = [re.sub(r"[\s_-]", "", getattr(choice, what)).casefold() for choice in value]
            if "" in values:
                raise ValueError(f"a {what} has no letter")
            if what == "label" and (taken := _RESERVED_LABELS & set(values)):
                raise ValueError(f"label {min(taken)!r} is a column of the confusion matrix")
            if len(set(values)) != len(values):
                raise ValueError(f"two options share a {what}")
        return value

    @field_validator("metrics")
    @classmethod
    def _accuracy_is_measured(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if set(value) != {"acc", "acc_legacy"}:
            raise ValueError("acc and acc_legacy are part of every result")
        return value


def _only_placeholders(text: str, allowed: set[str]) -> set[str]:
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"braces do not match: {error}") from error
    names = [name for _, name, _, _ in parts if name is not None]
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise ValueError("a placeholder is only its name in braces, without : or !")
    if any("{" in literal or "}" in literal for literal, _, _, _ in parts):
        raise ValueError("doubled braces have no meaning here")
    if len(set(names)) != len(names):
        raise ValueError("a placeholder stands twice")
    found = set(names)
    unknown = sorted(found - allowed)
    if unknown:
        known = ", ".join("{" + name + "}" for name in sorted(allowed))
        raise ValueError(f"unknown placeholder {{{unknown[0]}}}; known: {known}")
    return found
