"""A reference in a file: what side A showed, to be compared with on another machine.

A safetensors file. Its tensors are the stages' outputs, float32 at a few positions that are
spread evenly, `<sample>/stages/<name>` and `<sample>/alone/<name>`, and the inputs from which
each stage is tried by itself, bfloat16 and whole, `<sample>/given/<name>`. Everything else is
JSON in the header's metadata, sealed with a digest that covers the tensors too. No code is
loaded and none is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from modeltest.errors import DataError, one_line
from modeltest.metrics.parity.traces import SampleTrace, StageValues, Trace
from modeltest.plain_files import read_regular, strict_json
from modeltest.records import Request
from modeltest.runlog.atomic import write_atomically
from modeltest.runlog.digests import digest

if TYPE_CHECKING:
    from modeltest.runner.parity.sides import Given

FORMAT, VERSION = "modeltest parity record", 1
MAX_POSITIONS = 8
_MAX_BYTES = 4 << 30
_METADATA_KEY = "parity"
_LENGTH_BYTES = 8
# What a safetensors file or its JSON raises where it is not what it should be.
_FOREIGN = (ValueError, TypeError, KeyError, AttributeError, LookupError, RecursionError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """What decided the recorded replies, beside model and machine.

    Attributes:
        model: Name of the model's settings.
        files: Digests of the checkpoint, as `model_files`.
        task: Name of the task.
        request: Prompt and generation settings, as JSON values.
        clips: Per sample id the SHA-256 of its clips' encoded bytes.
        side: Device, precision, engine, attention and batch size.
        versions: Of modeltest, torch and transformers.
    """

    model: str
    files: Mapping[str, str]
    task: str
    request: Mapping[str, Any]
    clips: Mapping[str, Sequence[str]]
    side: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Record:
    """A recorded reference."""

    asked: Asked
    trace: Trace
    given: Given


def asked_words(requests: Sequence[Request]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Prompt and generation settings, and the clips' digests, as JSON values."""
    first = requests[0]
    generation = {**asdict(first.generation), "options": list(first.generation.options)}
    prompt = {"text": first.prompt.text, "format": first.prompt.format}
    clips = {r.sample_id: [clip.sha256 for clip in r.audio] for r in requests}
    return {"prompt": prompt, "generation": generation}, clips


def write_record(path: Path, record: Record) -> None:
    """Writes a record; the same content gives the same bytes.

    Raises:
        OSError: The disk refused; a file that was there is intact.
    """
    from safetensors.torch import save

    tensors = dict(_tensors(record))
    content = {
        "format": FORMAT,
        "version": VERSION,
        **asdict(record.asked),
        "data_type": record.trace.data_type,
        "samples": [_sample_facts(sample) for sample in record.trace.samples],
        "tensors_sha256": _tensors_digest(tensors),
    }
    sealed = json.dumps(
        {**content, "seal": digest(content)}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    # One key only: safetensors writes several in whatever order its map has.
    write_atomically(path, save(tensors, {_METADATA_KEY: sealed}))


def read_record(path: Path) -> Record:
    """Reads a record; everything in it is checked.

    Raises:
        DataError: It cannot be read, is damaged, or is no such file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        whole = read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise DataError(
            one_line(f"--reference {path}: cannot be read ({error.strerror or error})")
        ) from error
    try:
        tensors = load(whole)
        return _record(_content(whole), tensors)
    except SafetensorError as error:
        _refuse(path, error)
    except _FOREIGN as error:
        _refuse(path, error)


def _refuse(path: Path, error: Exception) -> NoReturn:
    detail = " ".join(f"{type(error).__name__}: {error}".split())[:160]
    raise DataError(
        one_line(
            f"--reference {path}: not a whole parity record of version {VERSION} ({detail}); "
            "record it again with --record, or copy it again"
        )
    ) from error


def _sample_facts(sample: SampleTrace) -> dict[str, Any]:
    """What is no tensor; the answer is read out of the text again."""
    return {
        "sample_id": sample.sample_id,
        "text": sample.text,
        "error": sample.error,
        "input_tokens": sample.input_tokens,
        "input_ids": list(sample.input_ids),
        "output_ids": list(sample.output_ids),
        "margins": list(sample.margins),
        "option_logits": list(sample.option_logits),
        "stages": _counts(sample.stages),
        "alone": _counts(sample.alone),
    }


def _counts(stages: Mapping[str, StageValues]) -> list[list[Any]]:
    """Names in their order, with their numbers of positions."""
    return [[name, stage.num_positions] for name, stage in stages.items()]


def _tensors(record: Record) -> Iterator[tuple[str, Any]]:
    import torch

    for number, sample in enumerate(record.trace.samples):
        for kind, stages in (("stages", sample.stages), ("alone", sample.alone)):
            for name, stage in stages.items():
                kept = stage.spread(MAX_POSITIONS).values
                yield f"{number}/{kind}/{name}", torch.from_numpy(kept).contiguous()
        for name, values in record.given.get(sample.sample_id, {}).items():
            yield f"{number}/given/{name}", torch.from_numpy(values).bfloat16().contiguous()


def _tensors_digest(tensors: Mapping[str, Any]) -> str:
    import torch

    whole = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        head = f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode("utf-8", "surrogatepass")
        whole.update(head + tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def _content(whole: bytes) -> dict[str, Any]:
    """The JSON of a file whose header safetensors has accepted."""
    length = int.from_bytes(whole[:_LENGTH_BYTES], "little")
    header = json.loads(whole[_LENGTH_BYTES : _LENGTH_BYTES + length])
    content = _typed(strict_json(header["__metadata__"][_METADATA_KEY]), dict)
    if content["format"] != FORMAT or content["version"] != VERSION:
        raise ValueError(f"format {content['format']!r}, version {content['version']!r}")
    seal = content.pop("seal")
    if seal != digest(content):
        raise ValueError("its digest is another")
    return content


def _record(content: dict[str, Any], tensors: Mapping[str, Any]) -> Record:
    if content["tensors_sha256"] != _tensors_digest(tensors):
        raise ValueError("the digest of its tensors is another")
    files, clips = _typed(content["files"], dict), _typed(content["clips"], dict)
    asked = Asked(
        model=_typed(content["model"], str),
        files={name: _typed(value, str) for name, value in files.items()},
        task=_typed(content["task"], str),
        request=_typed(content["request"], dict),
        clips={name: _typed(value, list) for name, value in clips.items()},
        side=_typed(content["side"], dict),
        versions=_typed(content["versions"], dict),
    )
    samples = [
        _sample(number, _typed(facts, dict), tensors)
        for number, facts in enumerate(_typed(content["samples"], list))
    ]
    if not samples or [sample.sample_id for sample in samples] != list(_order(content)):
        raise ValueError("its samples and clips do not fit together")
    given = {
        sample.sample_id: values
        for number, sample in enumerate(samples)
        if (values := _given(number, sample, tensors))
    }
    return Record(asked, Trace(tuple(samples), _typed(content["data_type"], str)), given)


def _order(content: Mapping[str, Any]) -> Iterator[str]:
    """Ids of the samples, each of which has clips."""
    for facts in content["samples"]:
        if facts["sample_id"] in content["clips"]:
            yield facts["sample_id"]


def _sample(number: int, facts: Mapping[str, Any], tensors: Mapping[str, Any]) -> SampleTrace:
    input_tokens = facts["input_tokens"]
    return SampleTrace(
        sample_id=_typed(facts["sample_id"], str),
        text=_typed(facts["text"], str),
        error=_typed(facts["error"], str),
        input_tokens=None if input_tokens is None else _typed(input_tokens, int),
        input_ids=_row(facts["input_ids"], int),
        output_ids=_row(facts["output_ids"], int),
        margins=_row(facts["margins"], float),
        option_logits=_row(facts["option_logits"], float),
        stages=_stages(f"{number}/stages", facts["stages"], tensors),
        alone=_stages(f"{number}/alone", facts["alone"], tensors),
    )


def _stages(
    prefix: str, counts: Sequence[Sequence[Any]], tensors: Mapping[str, Any]
) -> dict[str, StageValues]:
    return {
        _typed(name, str): StageValues(
            _matrix(tensors[f"{prefix}/{name}"], "float32"), _typed(num_positions, int)
        )
        for name, num_positions in _typed(counts, list)
    }


def _given(number: int, sample: SampleTrace, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _matrix(tensors[key], "bfloat16")
        for name in sample.stages
        if (key := f"{number}/given/{name}") in tensors
    }


def _matrix(tensor: Any, data_type: str) -> Any:
    if tensor.dim() != 2 or not len(tensor) or str(tensor.dtype) != f"torch.{data_type}":
        raise ValueError(f"a tensor of {tensor.dtype} and shape {list(tensor.shape)}")
    return tensor.float().numpy()


def _row(values: Any, kind: type[T]) -> tuple[T, ...]:
    return tuple(_typed(value, kind) for value in _typed(values, list))


def _typed(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{type(value).__name__} in place of {kind.__name__}")
    return value
