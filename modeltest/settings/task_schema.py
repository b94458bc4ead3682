"""The shape of a task's file."""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from modeltest.settings.strict import PathText, Strict

AgeRange = Annotated[str, Field(pattern=r"^\d{1,3}-\d{1,3}$")]

_MIN_CHOICES = 2
_TRANSCRIPTION_SOURCES = ("table", "paired_tables")
_TRANSCRIPTION: dict[str, Any] = {
    "choices": (),
    "answer": "words",
    "metrics": ("wer", "exact_match", "answered_rate"),
}
"""What a transcription task has where its file says nothing."""
_RESERVED_LABELS = {"truth", "unparsed", "error", "total", "validity"}


AnswerRuleName = Literal[
    "letter_or_name", "original", "aisbench", "lmms", "ultraeval", "official", "helm"
]
"""The rules by which an answer is read out of a reply; `letter_or_name` is modeltest's own."""


class ChoiceSettings(Strict):
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


class LabelSettings(Strict):
    """How a sample's label and metadata are found.

    Attributes:
        source: `file_name`: groups of `pattern`; `folder`: the name of the file's folder;
            `table`: rows of `table`; `paired_tables`: rows of `paired_tables`.
        pattern: Regular expression over the file's stem, matched whole. Group `label` is
            the label; every other named group becomes metadata.
        table: CSV file below the data folder with the columns `audio` (path below the data
            folder) and `label`; every other column becomes metadata.
        paired_tables: CSV files below the data folder with the column `audio`; the rows of the
            same place form one sample of as many clips as there are tables.
        reference_column: Of a transcription task's tables: what is said in the clip.
        rename: Per group or column, what its values are called (`gender: {f: female}`).
    """

    source: Literal["file_name", "folder", "table", "paired_tables"] = "file_name"
    pattern: str = r"(?:.*_)?(?P<label>[^_]+)"
    table: str = "labels.csv"
    paired_tables: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=("multi_audio_data/data_first.csv", "multi_audio_data/data_second.csv"),
        min_length=2,
        strict=False,
    )
    reference_column: Annotated[str, Field(min_length=1)] = "text"
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


class SliceSettings(Strict):
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


class PublishedSettings(Strict):
    """An accuracy that somebody published for a task's prompt and rule: to look at, never a gate.

    Attributes:
        value: As a fraction, 0.9395 for 93.95 %.
        model: Whose it is.
        source: Where it was published.
        note: What else a reader has to know.
    """

    value: float = Field(ge=0, le=1)
    model: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    note: str = ""


class TaskSettings(Strict):
    """One file of `config/task/`.

    Attributes:
        kind: What sort of question it is: one with lettered options, or what is said.
        version: Changes whenever the same reply could get another score.
        local_dataset_path: The data folder.
        expected_samples: Clips in the official test split; another count is a warning.
        label: Where labels and metadata come from.
        prompt_format: `raw` or `chat`.
        prompt: The question; `{choices}` becomes `A: Laughter, B: Sigh, …`.
        raw_prompt: The whole raw input around `{audio}` (the clip) and `{prompt}`.
        choices: The options in the order of their letters; none to transcribe.
        answer: The rule that reads an answer out of a reply, modeltest's own or another tool's
            (docs/protocols.md); `words` are those of all of it.
        max_new_tokens: Longest reply.
        stop_at_answer: End a reply that began with an option's letter and name: faster, the
            same answer, a shorter text.
        long_audio: What becomes of clips longer than the model hears: an error of the
            sample, or cut to that length.
        slices: How the results are broken down.
        metrics: What is reported of every subset, beside the rates; all of a kind are part of
            every result.
        published: What others got by the same prompt and rule; recorded with every run.
    """

    kind: Literal["multiple_choice", "transcription"] = "multiple_choice"
    version: Annotated[str, Field(min_length=1)] = "1.0"
    local_dataset_path: PathText | None = None
    expected_samples: int | None = Field(default=None, ge=1)
    label: LabelSettings = LabelSettings()
    prompt_format: Literal["raw", "chat"] = "raw"
    prompt: Annotated[str, Field(min_length=1)]
    raw_prompt: str = "{audio}{prompt}"
    choices: tuple[ChoiceSettings, ...] = Field(strict=False)
    answer: Literal[AnswerRuleName, "words"] = "letter_or_name"
    max_new_tokens: int = Field(default=65, ge=1)
    stop_at_answer: bool = False
    long_audio: Literal["error", "truncate"] = "error"
    slices: SliceSettings = SliceSettings()
    metrics: tuple[Literal["acc", "acc_legacy", "wer", "exact_match", "answered_rate"], ...] = (
        Field(default=("acc", "acc_legacy"), strict=False)
    )
    published: tuple[PublishedSettings, ...] = Field(default=(), strict=False)

    @property
    def num_clips(self) -> int:
        """Clips of every sample."""
        return len(self.label.paired_tables) if self.label.source == "paired_tables" else 1

    @model_validator(mode="before")
    @classmethod
    def _what_a_kind_has(cls, values: Any) -> Any:
        is_transcription = isinstance(values, dict) and values.get("kind") == "transcription"
        return {**_TRANSCRIPTION, **values} if is_transcription else values

    @field_validator("label")
    @classmethod
    def _source_fits_the_kind(cls, value: LabelSettings, info: ValidationInfo) -> LabelSettings:
        kind = info.data.get("kind")
        if kind == "transcription" and value.source not in _TRANSCRIPTION_SOURCES:
            raise ValueError("a transcription task needs the source 'table' or 'paired_tables'")
        if kind == "multiple_choice" and value.source == "paired_tables":
            raise ValueError("the source 'paired_tables' is for transcription tasks")
        return value

    @field_validator("prompt")
    @classmethod
    def _prompt_placeholders(cls, value: str, info: ValidationInfo) -> str:
        has_choices = info.data.get("kind") != "transcription"
        _only_placeholders(value, {"choices"} if has_choices else set())
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
    def _choices_differ(
        cls, value: tuple[ChoiceSettings, ...], info: ValidationInfo
    ) -> tuple[ChoiceSettings, ...]:
        if info.data.get("kind") == "transcription":
            return _only(value, (), "has no choices")
        if len(value) < _MIN_CHOICES:
            counts = {"min_length": _MIN_CHOICES, "actual_length": len(value)}
            raise PydanticKnownError("too_short", {"field_type": "Tuple", **counts})
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

    @field_validator("answer")
    @classmethod
    def _answer_fits_the_kind(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("kind") == "transcription":
            return _only(value, "words", "answers by the rule 'words' alone")
        if value == "words":
            raise ValueError("a task of this kind has no rule 'words'")
        return value

    @field_validator("stop_at_answer")
    @classmethod
    def _stopping_fits_the_kind(cls, value: bool, info: ValidationInfo) -> bool:
        if info.data.get("kind") == "transcription":
            return _only(value, False, "has no option to stop at")
        rule = info.data.get("answer", "letter_or_name")
        if value and rule != "letter_or_name":
            raise ValueError(f"the rule '{rule}' reads the whole reply")
        return value

    @field_validator("metrics")
    @classmethod
    def _all_is_measured(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("kind") == "transcription":
            wanted = _TRANSCRIPTION["metrics"]
            return _only(value, wanted, f"always reports {', '.join(wanted)}")
        if set(value) != {"acc", "acc_legacy"}:
            raise ValueError("acc and acc_legacy are part of every result")
        return value


_Value = TypeVar("_Value")


def _only(value: _Value, allowed: _Value, why: str) -> _Value:
    """Refuses what another kind of task has; what is written and changes nothing may stay."""
    if value != allowed:
        raise ValueError(f"a task of this kind {why}")
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
        known = ", ".join("{" + name + "}" for name in sorted(allowed)) or "none"
        raise ValueError(f"unknown placeholder {{{unknown[0]}}}; known: {known}")
    return found
