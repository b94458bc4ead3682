"""What a loaded model computes stage by stage, watched while it answers.

Hooks on the model's own modules copy each stage's output to the host; the engine, its batches
and its kernels stay as they are. The stages, in the order of their work:

    log_mel           features as the encoder receives them
    encoder.input     behind the convolutions and positions
    encoder.layer.N   behind each encoder layer
    encoder.output    pooled and normalised, one position per audio token
    projector         in the language model's width
    lm.input          embeddings of the whole prompt, audio in its place
    lm.layer.N        behind each decoder layer; of the last one the last position only, which
                      is all that the fast engine computes
    logits            of the first new token

A stage can be given another's values: `given` replaces its output behind the copy, so that
every later stage starts from exactly these. One pass then tries each stage by itself.

Shape suffixes: B requests, C clips, M mel bins, F mel frames, P positions, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from modeltest.backends.transformers.fast import only
from modeltest.backends.transformers.inputs import num_audio_tokens
from modeltest.backends.transformers.trim import FRAMES_PER_POSITION
from modeltest.records import Request, Response

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from modeltest.backends.transformers.backend import TransformersBackend

    Stages: TypeAlias = Mapping[str, NDArray[np.float32]]

# A clip's last position comes from convolutions that look two frames behind its end.
_FRAMES_BEHIND = 2


@dataclass(slots=True)
class Probed:
    """What was seen of one request.

    Attributes:
        response: Its answer.
        input_ids: Tokens from the first that is no padding to the row's end, each clip's
            audio token as often as the clip has positions.
        margins: Per step how far the best logit was above the second.
        stages: Name to float32 values, `(positions, width)`.
    """

    response: Response
    input_ids: tuple[int, ...]
    margins: tuple[float, ...]
    stages: dict[str, NDArray[np.float32]]


def probe(
    backend: TransformersBackend,
    requests: Sequence[Request],
    whole: Collection[str],
    given: Mapping[str, Stages] | None = None,
) -> list[Probed]:
    """Answers a batch and returns what its stages put out.

    Args:
        backend: Loaded.
        requests: The batch.
        whole: Ids of the samples of which every layer is wanted; the others have `log_mel`,
            `encoder.output`, `projector` and `logits` alone.
        given: Per sample id the values that its stages go on with; only the first token is
            generated then. A stage with other positions than were given ends what is seen of
            its sample.

    Raises:
        ModelError: The clips did not reach the model.
    """
    import torch

    if given is not None:
        requests = [
            replace(each, generation=replace(each.generation, max_new_tokens=1, stop_pattern=""))
            for each in requests
        ]
    prepared = backend.prepare(requests)
    tensors = backend.input_tensors(prepared)
    rows = _input_rows(backend, tensors, requests)
    watch = _Watch(_places(backend, requests, rows), whole, given or {}, requests)
    with watch.on(backend.model), torch.inference_mode():
        responses = backend.generate(requests, prepared)
    margins = watch.margins()
    return [
        Probed(response, tuple(ids), tuple(steps[: response.output_tokens or len(steps)]), stages)
        for response, ids, steps, stages in zip(responses, rows, margins, watch.stages, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one request's values are in a batch.

    Attributes:
        clips: Its clips' rows.
        frames: Mel frames of each, those included that its last position looks at.
        positions: Encoder positions of each.
        tokens: Audio tokens of each.
        num_input: Positions of its prompt.
    """

    clips: range
    frames: tuple[int, ...]
    positions: tuple[int, ...]
    tokens: tuple[int, ...]
    num_input: int


def _places(
    backend: TransformersBackend, requests: Sequence[Request], rows: Sequence[Sequence[int]]
) -> list[_Place]:
    hop = backend.processor.feature_extractor.hop_length
    longest = backend.processor.feature_extractor.nb_max_frames
    places: list[_Place] = []
    first = 0
    for request, row in zip(requests, rows, strict=True):
        lengths = [len(clip.waveform) for clip in request.audio]
        frames = [-(-length // hop) for length in lengths]
        places.append(
            _Place(
                clips=range(first, first + len(lengths)),
                frames=tuple(min(num + _FRAMES_BEHIND, longest) for num in frames),
                positions=tuple(-(-num // FRAMES_PER_POSITION) for num in frames),
                tokens=tuple(num_audio_tokens(length, hop) for length in lengths),
                num_input=len(row),
            )
        )
        first += len(lengths)
    return places


def _input_rows(
    backend: TransformersBackend, tensors: Mapping[str, Any], requests: Sequence[Request]
) -> list[list[int]]:
    """Each request's tokens; transformers up to 4.47 leaves the audio token unexpanded."""
    hop = backend.processor.feature_extractor.hop_length
    rows = []
    ids_and_masks = zip(
        tensors["input_ids"].tolist(), tensors["attention_mask"].tolist(), strict=True
    )
    for request, (ids, mask) in zip(requests, ids_and_masks, strict=True):
        row = ids[mask.index(1) :] if 1 in mask else []
        if row.count(backend.audio_id) == len(request.audio):
            lengths = iter([num_audio_tokens(len(c.waveform), hop) for c in request.audio])
            row = [
                token
                for each in row
                for token in [each] * (next(lengths) if each == backend.audio_id else 1)
            ]
        rows.append(row)
    return rows


_Span: TypeAlias = tuple[int, slice]


@dataclass(slots=True)
class _Watch:
    """Copies what passes the hooks during one batch, and puts in what was given."""

    _rows: Sequence[_Place]
    _whole: Collection[str]
    _given: Mapping[str, Stages]
    _requests: Sequence[Request]
    stages: list[dict[str, NDArray[np.float32]]] = field(default_factory=list)
    _margins: list[Any] = field(default_factory=list)
    _lost: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.stages = [{} for _ in self._rows]

    @contextmanager
    def on(self, model: Any) -> Iterator[None]:
        """Hooks the model's modules for one batch."""
        encoder, body = only(model, "Qwen2AudioEncoder"), only(model, "Qwen2Model")
        projector = only(model, "Qwen2AudioMultiModalProjector")
        last = len(body.layers) - 1
        with ExitStack() as hooks:

            def before(module: Any, hook: Callable[..., Any]) -> None:
                handle = module.register_forward_pre_hook(hook, with_kwargs=True)
                hooks.callback(handle.remove)

            def behind(module: Any, hook: Callable[..., Any]) -> None:
                hooks.callback(module.register_forward_hook(hook).remove)

            before(encoder, self._features)
            before(encoder.layers[0], self._input_of("encoder.input", self._positions))
            for number, layer in enumerate(encoder.layers):
                behind(layer, self._output_of(f"encoder.layer.{number}", self._positions))
            behind(encoder, self._output_of("encoder.output", self._tokens))
            behind(projector, self._output_of("projector", self._tokens))
            before(body.layers[0], self._input_of("lm.input", self._prompt))
            for number, layer in enumerate(body.layers):
                place = self._last if number == last else self._prompt
                behind(layer, self._output_of(f"lm.layer.{number}", place))
            behind(model.get_output_embeddings(), self._logits)
            yield

    def margins(self) -> list[list[float]]:
        """Per request the steps' margins."""
        import torch

        margins: list[list[float]] = torch.stack(self._margins, dim=1).tolist()
        return margins

    def _features(self, _module: Any, args: Any, kwargs: Any) -> Any:
        """(C, M, F), by position or by name."""
        features = args[0] if args else kwargs["input_features"]
        turned = features.transpose(1, 2)
        changed = self._pass("log_mel", turned, self._clip_spans("frames"))
        if changed is turned:
            return None
        changed = changed.transpose(1, 2).contiguous()
        return _with_first(args, kwargs, changed, "input_features")

    def _input_of(self, name: str, spans: Callable[[Any], list[list[_Span]]]) -> Callable[..., Any]:
        def hook(_module: Any, args: Any, kwargs: Any) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            changed = self._in_prefill(name, hidden, spans)
            return (
                None if changed is hidden else _with_first(args, kwargs, changed, "hidden_states")
            )

        return hook

    def _output_of(
        self, name: str, spans: Callable[[Any], list[list[_Span]]]
    ) -> Callable[..., Any]:
        def hook(_module: Any, _inputs: Any, output: Any) -> Any:
            hidden = _hidden(output)
            changed = self._in_prefill(name, hidden, spans)
            return None if changed is hidden else _with_hidden(output, changed)

        return hook

    def _logits(self, _module: Any, _inputs: Any, logits: Any) -> None:
        """(B, V) or (B, T, V): of each step the last position's."""
        last = (logits[:, -1] if logits.dim() == 3 else logits).float()
        if not self._margins:
            for number, row in enumerate(last.cpu().numpy()):
                if number not in self._lost:
                    self.stages[number]["logits"] = row[None]
        best = last.topk(2, dim=-1).values
        self._margins.append(best[:, 0] - best[:, 1])

    def _in_prefill(self, name: str, hidden: Any, spans: Callable[[Any], list[list[_Span]]]) -> Any:
        return hidden if self._margins else self._pass(name, hidden, spans(hidden))

    def _pass(self, name: str, tensor: Any, spans: list[list[_Span]]) -> Any:
        """Copies each request's part of (rows, positions, width); returns what goes on."""
        import torch

        flat = tensor.dim() == 2
        source = result = tensor[None] if flat else tensor
        for number, parts in enumerate(spans):
            sample_id = self._requests[number].sample_id
            if number in self._lost or not self._is_wanted(name, sample_id):
                continue
            seen = torch.cat([source[row, place] for row, place in parts])
            # The device's own precision is exact in float32, and numpy knows no bfloat16.
            self.stages[number][name] = seen.float().cpu().numpy()
            values = self._given.get(sample_id, {}).get(name)
            if values is None:
                continue
            if values.shape != tuple(seen.shape):
                self._lost.add(number)
                continue
            result = source.clone() if result is source else result
            _put(result, parts, values)
        if result is source:
            return tensor
        return result[0] if flat else result

    def _is_wanted(self, name: str, sample_id: str) -> bool:
        return sample_id in self._whole or name in {"log_mel", "encoder.output", "projector"}

    def _clip_spans(self, what: str) -> list[list[_Span]]:
        return [
            [(clip, slice(0, num)) for clip, num in zip(row.clips, getattr(row, what), strict=True)]
            for row in self._rows
        ]

    def _positions(self, _hidden: Any) -> list[list[_Span]]:
        return self._clip_spans("positions")

    def _tokens(self, hidden: Any) -> list[list[_Span]]:
        """Of (C, P, width), or of all audio tokens one after the other, (P, width)."""
        if hidden.dim() == 3:
            return self._clip_spans("tokens")
        spans, first = [], 0
        for row in self._rows:
            total = sum(row.tokens)
            spans.append([(0, slice(first, first + total))])
            first += total
        return spans

    def _prompt(self, hidden: Any) -> list[list[_Span]]:
        length = hidden.shape[1]
        return [
            [(number, slice(max(length - row.num_input, 0), length))]
            for number, row in enumerate(self._rows)
        ]

    def _last(self, _hidden: Any) -> list[list[_Span]]:
        return [[(number, slice(-1, None))] for number in range(len(self._rows))]


def _put(result: Any, parts: Sequence[_Span], values: NDArray[np.float32]) -> None:
    """Writes values, `(positions, width)`, over the parts of (rows, positions, width)."""
    import torch

    new, first = torch.from_numpy(values).to(result), 0
    for row, place in parts:
        num = len(result[row, place])
        result[row, place] = new[first : first + num]
        first += num


def _hidden(output: Any) -> Any:
    """The hidden states of what a module returned: a tensor, a tuple or a ModelOutput."""
    if hasattr(output, "last_hidden_state"):
        return output.last_hidden_state
    return output[0] if isinstance(output, tuple) else output


def _with_hidden(output: Any, hidden: Any) -> Any:
    if hasattr(output, "last_hidden_state"):
        output["last_hidden_state"] = hidden
        return output
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def _with_first(args: Any, kwargs: Any, value: Any, name: str) -> Any:
    if args:
        return (value, *args[1:]), kwargs
    return args, {**kwargs, name: value}
