"""A question with lettered options about one clip, as a task file describes it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from modeltest.records import Generation, Prompt, Response, Sample, Score
from modeltest.settings.schema import TaskSettings
from modeltest.tasks.answers import Choice
from modeltest.tasks.question import make_prompt, slices_of
from modeltest.tasks.rules import RULES, read_original


class MultipleChoiceTask:
    """The same question and options for every sample.

    Attributes:
        name: Name on the command line and in the reports.
        settings: The validated task file.
        choices: The options in the order of the prompt.
    """

    def __init__(self, name: str, settings: TaskSettings) -> None:
        self.name = name
        self.settings = settings
        self.choices = tuple(
            Choice(choice.letter, choice.label, choice.text, choice.words)
            for choice in settings.choices
        )
        self._read_answer = RULES[settings.answer].read
        self._shows_letters = "{choices}" in settings.prompt

    @property
    def version(self) -> str:
        """The task file's version."""
        return self.settings.version

    @property
    def labels(self) -> tuple[str, ...]:
        """The options' labels in their order."""
        return tuple(choice.label for choice in self.choices)

    @property
    def num_clips(self) -> int:
        """The question is about one clip."""
        return self.settings.num_clips

    def prompt(self) -> Prompt:
        """The question with its options; for `raw` inside `raw_prompt`."""
        options = ", ".join(f"{choice.letter}: {choice.text}" for choice in self.choices)
        question = self.settings.prompt.format(choices=options)
        return make_prompt(self.settings, question)

    def generation(self) -> Generation:
        """Greedy decoding of at most `max_new_tokens`; see `stop_at_answer` of the settings.

        Logits are wanted of the letters, or of the options' texts where the prompt shows none.
        """
        return Generation(
            max_new_tokens=self.settings.max_new_tokens,
            stop_pattern=_whole_answer(self.choices) if self.settings.stop_at_answer else "",
            options=tuple(
                choice.letter if self._shows_letters else choice.text for choice in self.choices
            ),
        )

    def score(self, sample: Sample, response: Response) -> Score:
        """Reads the answer by the task's rule and the original tool's.

        A failed response has none and is never correct.
        """
        if response.error:
            return Score(answer=None, correct=False, legacy_answer=None, legacy_correct=False)
        answer = self._read_answer(response.text, self.choices)
        legacy = read_original(response.text, self.choices)
        option = self._highest_option(response.option_logits)
        return Score(
            answer=answer,
            correct=answer is not None and answer == sample.truth,
            legacy_answer=legacy,
            legacy_correct=legacy is not None and legacy == sample.truth,
            option_answer=option,
            option_correct=option is not None and option == sample.truth,
        )

    def _highest_option(self, logits: tuple[float, ...]) -> str | None:
        """The label with the highest logit; none where two share it.

        None of texts, either: two may begin with the same token.
        """
        if not self._shows_letters or not logits or logits.count(max(logits)) > 1:
            return None
        return self.labels[logits.index(max(logits))]

    def subsets(self, sample: Sample) -> tuple[str, ...]:
        """`class=…`, then the slices of the task file for which the sample has metadata."""
        return (f"class={sample.truth}", *slices_of(sample.metadata, self.settings.slices))


def _whole_answer(choices: Sequence[Choice]) -> str:
    """Matches a reply that begins with an option's letter and its name: "C: Cough".

    The letter alone would not do: "C: Yawn" is no answer.
    """
    options = "|".join(rf"{c.letter}\s*[:.)]\s*{re.escape(c.text)}\b" for c in choices)
    return rf"(?i)\s*[(]?(?:{options})"
