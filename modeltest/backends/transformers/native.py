"""Any other architecture that transformers itself knows: its processor, template and `generate`.

Nothing here knows a model's modules. What a processor and a model of transformers have in
common is used, and what cannot be told of one is left out.

Shape suffixes: B requests, T tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modeltest.backends.transformers.architecture import short_name
from modeltest.backends.transformers.engines import Engine, StockEngine
from modeltest.backends.transformers.inputs import chat_text
from modeltest.backends.transformers.loading import named_failures
from modeltest.errors import ModelError, SettingsError
from modeltest.protocols import Device
from modeltest.records import Prompt, Request, StageWork

# Of a processor that names no limit; Whisper's window, which most encoders have.
_MAX_AUDIO_S = 30.0


class NativeModel:
    """The adapter of a model that is asked the way transformers asks it; see `Adapter`."""

    engines: tuple[str, ...] = ("stock",)
    joins_text = False

    def __init__(self, path: Path, processor: Any, model_class: str) -> None:
        """Finds the processor's parts.

        Args:
            path: The checkpoint.
            processor: Its processor.
            model_class: Its Auto class.

        Raises:
            ModelError: A part is missing without which audio cannot be asked about.
        """
        self.name = short_name(path)
        self.model_class = model_class
        self._processor = processor
        self._tokenizer = processor.tokenizer
        extractor = _first(processor, "feature_extractor", "audio_processor")
        rate = getattr(extractor, "sampling_rate", None) or 0
        token = getattr(processor, "audio_token", None)
        template = processor.chat_template or self._tokenizer.chat_template
        parameters = inspect.signature(type(processor).__call__).parameters
        self._keyword = next((name for name in ("audio", "audios") if name in parameters), "")
        for part, words in (
            (rate, "no sampling rate"),
            (token, "no audio token"),
            (template, "no chat template"),
            (self._keyword, "no argument for audio beside a text"),
        ):
            if not part:
                raise ModelError(f"{path}: {self.name}'s processor has {words}; it cannot be asked")
        self.sampling_rate_hz = int(rate)
        self.max_audio_s = _max_audio_s(processor, extractor)
        self._token = str(token)
        self._audio_id = self._tokenizer.convert_tokens_to_ids(self._token)
        # A class that does not name its arguments hands all of them to its tokenizer.
        rest = parameters.get("kwargs")
        self._has_groups = rest is not None and rest.annotation is not inspect.Parameter.empty
        self._features: set[str] = set()
        self._has_encoder = self._heard = False

    def render(self, prompt: Prompt, num_clips: int) -> str:
        """By the chat template.

        Raises:
            SettingsError: The prompt is raw, or holds audio tokens of its own.
            ModelError: The template fails, or has no place for clips.
        """
        if prompt.format == "raw":
            raise SettingsError(
                f"a raw prompt has Qwen2-Audio's layout, and {self.name} needs that of its own "
                "chat template; take a task in the chat format, such as vocalsound_chat, or add "
                "--set task.prompt_format=chat"
            )
        if self._token in prompt.text:
            raise SettingsError(f"the question holds {self._token}, an audio token; leave it out")
        try:
            text = chat_text(self._processor, prompt, num_clips)
        except ModelError:  # a template that takes texts alone
            text = ""
        if text.count(self._token) != num_clips:
            text = chat_text(self._processor, prompt, num_clips, self._token)
        if text.count(self._token) != num_clips:
            raise ModelError(
                f"{self.name}'s chat template makes {text.count(self._token)} audio tokens of "
                f"{num_clips} clips"
            )
        return text

    def make_engine(self, name: str, device: Device, pad_id: int) -> Engine:
        """The one engine, whatever the name."""
        return StockEngine(self.encode, self.watch, device, pad_id)

    def encode(self, texts: Sequence[str], requests: Sequence[Request]) -> Mapping[str, Any]:
        """The processor's outputs, left-padded, on the host, and checked.

        Args:
            texts: The rendered inputs, one per request.
            requests: The requests, whose clips are at the processor's rate.

        Raises:
            ModelError: What concerns every batch: no audio arrives, or padding is on the right.
            ValueError: Clips of this batch did not arrive.
            Exception: What the processor raises at clips that it does not take.
        """
        # Right padding would put pad tokens between a prompt and its reply.
        self._tokenizer.padding_side = "left"
        of_text: dict[str, Any] = {"padding": True}
        if self._tokenizer.bos_token and texts[0].startswith(self._tokenizer.bos_token):
            of_text["add_special_tokens"] = False  # the template has written them
        options = of_text
        if self._has_groups:
            of_audio = {"sampling_rate": self.sampling_rate_hz}
            options = {"text_kwargs": of_text, "audio_kwargs": of_audio}
        clips = [clip.waveform for request in requests for clip in request.audio]
        made = self._processor(
            text=list(texts), **{self._keyword: clips}, return_tensors="pt", **options
        )
        self._check(made, requests)
        return dict(made)

    def num_input_tokens(self, text: str, request: Request) -> int:
        """What the processor makes of it.

        Raises:
            ModelError: The processor does not take it.
        """
        num_clips = len(request.audio)
        with named_failures(f"{self.name}'s processor cannot be asked about {num_clips} clips"):
            prepared = self.encode([text], [request])
        [(num_tokens, _)] = self.token_counts([text], [request], prepared)
        return num_tokens

    def token_counts(
        self, texts: Sequence[str], requests: Sequence[Request], prepared: Any
    ) -> list[tuple[int, int]]:
        """Those that are no padding."""
        mask = prepared["attention_mask"]
        audio = (prepared["input_ids"] == self._audio_id) & mask.bool()
        return list(zip(mask.sum(-1).tolist(), audio.sum(-1).tolist(), strict=True))

    def option_tokens(self, options: Sequence[str]) -> list[list[int]]:
        """First tokens of "C", and of " C", where all options begin with another one."""
        ways = []
        for before in ("", " "):
            ids = [
                self._tokenizer(before + option, add_special_tokens=False)["input_ids"][:1]
                for option in options
            ]
            if len({tuple(each) for each in ids if each}) == len(options):
                ways.append([each[0] for each in ids])
        return [list(ids) for ids in zip(*ways, strict=True)]

    def attach(self, model: Any) -> None:
        """Watches what the model is given.

        Raises:
            ModelError: The checkpoint's audio token is not the model's.
        """
        config = model.config
        of_model = _first(config, "audio_token_id", "audio_token_index")
        if of_model is not None and of_model != self._audio_id:
            raise ModelError(
                f"{self.name}: the processor's audio token is {self._audio_id}, the model's is "
                f"{of_model}; the checkpoint's files do not fit each other"
            )
        model.register_forward_pre_hook(self._note_features, with_kwargs=True)

    def watch(self, model: Any, starts: Callable[[], None], done: Callable[[], None]) -> None:
        """Tells of encoder and projector, where they have the method that usually runs both."""
        owners = [m for m in model.modules() if hasattr(m, "get_audio_features")]
        if not owners:
            return
        encode = owners[-1].get_audio_features  # the outer ones call the innermost

        def told(*args: Any, **kwargs: Any) -> Any:
            starts()
            features = encode(*args, **kwargs)
            done()
            self._heard = True
            return features

        owners[-1].get_audio_features = told
        self._has_encoder = True

    def begin_batch(self) -> None:
        """Nothing heard yet."""
        self._heard = False

    def check_heard(self, num_clips: int) -> None:
        """The encoder ran, or, where it cannot be told from the rest, features came in."""
        import transformers

        if not self._heard:
            raise ModelError(
                f"transformers {transformers.__version__}: {self.name} was asked about "
                f"{num_clips} clips and encoded none; replies would not be about the audio"
            )

    def work(
        self,
        model: Any,
        texts: Sequence[str],
        requests: Sequence[Request],
        output_tokens: int,
        fast: bool,
    ) -> Mapping[str, StageWork]:
        """Not known."""
        return {}

    def _check(self, made: Any, requests: Sequence[Request]) -> None:
        """Compares what was asked for with what came out.

        Raises:
            ModelError: No audio arrives at all, or padding is on the right.
            ValueError: Something of this batch's audio is missing; scores would be worthless.
        """
        import transformers

        release = f"transformers {transformers.__version__}"
        clips = [len(request.audio) for request in requests]
        features = {
            name: len(value)
            for name, value in made.items()
            if getattr(value, "is_floating_point", bool)() and value.dim() > 1
        }
        found = max(features.values(), default=0)
        if found < sum(clips):
            dropped = f"{release} dropped audio: {sum(clips)} clips in, {found} out"
            raise ValueError(dropped) if found else ModelError(dropped)
        self._features = set(features)
        counts = self.token_counts([], [], made)
        if len(counts) != len(requests) or any(
            audio < num for (_, audio), num in zip(counts, clips, strict=True)
        ):
            found_tokens = [audio for _, audio in counts]
            raise ValueError(f"{release} made {found_tokens} audio tokens of {clips} clips")
        if not bool(made["attention_mask"][:, -1].all()):
            raise ModelError(f"{release} padded on the right, which changes the replies")

    def _note_features(self, _model: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        given = any(kwargs.get(name) is not None for name in self._features)
        self._heard |= given and not self._has_encoder


def _max_audio_s(processor: Any, extractor: Any) -> float:
    """Longest clip that the processor takes whole: so many whole windows as it allows."""
    window_s = float(_first(extractor, "chunk_length") or _MAX_AUDIO_S)
    limit_s = float(_first(processor, "max_audio_len") or window_s)
    return max(limit_s // window_s, 1) * window_s


def _first(owner: Any, *names: str) -> Any:
    """The first of these attributes that is there and set."""
    return next((v for name in names if (v := getattr(owner, name, None)) is not None), None)
