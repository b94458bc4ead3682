"""What is said in a clip, or in each of several, as a task file describes it."""

from __future__ import annotations

from modeltest.records import Generation, Prompt, Response, Sample, Score
from modeltest.settings.schema import TaskSettings
from modeltest.tasks.question import make_prompt, slices_of
from modeltest.tasks.words import count_word_edits, plain_words, require_jiwer


class TranscriptionTask:
    """The same question for every sample; the whole reply is the answer.

    Attributes:
        name: Name on the command line and in the reports.
        settings: The validated task file.
    """

    def __init__(self, name: str, settings: TaskSettings) -> None:
        """Takes the task file.

        Raises:
            SettingsError: The library that counts words is missing.
        """
        require_jiwer()
        self.name = name
        self.settings = settings

    @property
    def version(self) -> str:
        """The task file's version."""
        return self.settings.version

    @property
    def labels(self) -> tuple[str, ...]:
        """Any text may be right."""
        return ()

    @property
    def num_clips(self) -> int:
        """As many as the task file pairs."""
        return self.settings.num_clips

    def prompt(self) -> Prompt:
        """The question; for `raw` inside `raw_prompt`."""
        return make_prompt(self.settings, self.settings.prompt)

    def generation(self) -> Generation:
        """Greedy decoding of at most `max_new_tokens`."""
        return Generation(max_new_tokens=self.settings.max_new_tokens)

    def score(self, sample: Sample, response: Response) -> Score:
        """Compares the words of the reply with those of the reference, if there is one.

        A reply without words is unparsed. Of it, and of a failed response, all words of the
        reference count as deleted.
        """
        said = plain_words(sample.truth)
        answer = "" if response.error else plain_words(response.text)
        return Score(
            answer=answer or None,
            correct=bool(said) and answer == said,
            legacy_answer=None,
            legacy_correct=False,
            num_word_edits=count_word_edits(said, answer) if said else None,
            num_reference_words=len(said.split()) if said else None,
        )

    def subsets(self, sample: Sample) -> tuple[str, ...]:
        """The slices of the task file for which the sample has metadata."""
        return slices_of(sample.metadata, self.settings.slices)
