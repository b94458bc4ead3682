"""Which architecture a checkpoint has, and what the installed transformers knows of it.

Qwen2-Audio has an adapter of its own; any other architecture has to be one that transformers
itself can load from files that hold data only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeltest.backends.transformers.foreign_code import read_json
from modeltest.errors import ModelError, one_line

QWEN2_AUDIO = "Qwen2AudioForConditionalGeneration"
# The mappings that hold audio-to-text models, the best fit first; releases differ in which.
_MAPPINGS = {
    "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES": "AutoModelForMultimodalLM",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES": "AutoModelForSpeechSeq2Seq",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES": "AutoModelForSeq2SeqLM",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES": "AutoModelForImageTextToText",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": "AutoModelForCausalLM",
}
# Tokenizers whose files are JSON, text or SentencePiece models: none of them reads a pickle.
_TOKENIZERS = frozenset(
    {"PreTrainedTokenizerFast", "TokenizersBackend"}
    | {
        f"{name}Tokenizer{kind}"
        for name in ("Qwen2", "Llama", "GPT2", "Gemma")
        for kind in ("", "Fast")
    }
)


@dataclass(frozen=True, slots=True)
class Native:
    """What transformers itself has for an architecture.

    Attributes:
        architecture: The model's class, as `config.json` names it.
        auto_class: The Auto class that makes it.
        classes: Per key of the checkpoint's files the class names that it may have.
    """

    architecture: str
    auto_class: str
    classes: Mapping[str, frozenset[str]]


def architecture_names(path: Path) -> list[str]:
    """What `config.json` has under `architectures`.

    Raises:
        ModelError: The file cannot be used, or names none.
    """
    file = path / "config.json"
    config = _config(file)
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ModelError(_unsupported(file, names))
    return names


def is_qwen2_audio(path: Path) -> bool:
    """Whether the checkpoint is Qwen2-Audio's.

    Raises:
        ModelError: `config.json` cannot be used.
    """
    return QWEN2_AUDIO in architecture_names(path)


def short_name(path: Path) -> str:
    """The architecture for a person, for example `AudioFlamingo3`.

    Raises:
        ModelError: `config.json` cannot be used.
    """
    if is_qwen2_audio(path):
        return "Qwen2-Audio"
    [name, *_] = architecture_names(path)
    for ending in ("ForConditionalGeneration", "ForCausalLM"):
        name = name.removesuffix(ending)
    return one_line(name)


def native(path: Path) -> Native:
    """Looks an architecture up in the installed transformers; imports it, but no model.

    Raises:
        ModelError: transformers does not know it, or it makes no text of audio.
    """
    from transformers.models.auto import modeling_auto, processing_auto
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES

    file = path / "config.json"
    config, names = _config(file), architecture_names(path)
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise ModelError(_unsupported(file, names))
    _refuse_unknown(file, names[0], model_type, config.get("transformers_version"))
    auto_class = next(
        (
            name
            for mapping, name in _MAPPINGS.items()
            if getattr(modeling_auto, mapping, {}).get(model_type) == names[0]
        ),
        None,
    )
    processor = processing_auto.PROCESSOR_MAPPING_NAMES.get(model_type)
    if auto_class is None or not processor or not _hears(path):
        raise ModelError(_unsupported(file, names))
    extractors = FEATURE_EXTRACTOR_MAPPING_NAMES.get(model_type)
    return Native(
        names[0],
        auto_class,
        {
            "processor_class": frozenset({processor}),
            "feature_extractor_type": frozenset({extractors} if extractors else ()),
            "tokenizer_class": _TOKENIZERS,
        },
    )


def _refuse_unknown(file: Path, name: str, model_type: str, saved_with: Any) -> None:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if model_type not in CONFIG_MAPPING_NAMES:
        needs = f"transformers {saved_with} or newer" if saved_with else "a newer release"
        raise ModelError(
            f"{file}: transformers {transformers.__version__} does not know architecture {name}; "
            f"it needs {needs}"
        )


def _hears(path: Path) -> bool:
    """Whether the processor's files name a feature extractor, which is for audio."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        content = read_json(path / name) if (path / name).is_file() else {}
        if isinstance(content, dict):
            parts = [content, *(part for part in content.values() if isinstance(part, dict))]
            if any("feature_extractor_type" in part for part in parts):
                return True
    return False


def _config(file: Path) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise ModelError(f"{file}: is not a JSON object; download it again")
    return content


def _unsupported(file: Path, names: Any) -> str:
    return (
        f"{file}: architecture {names} is not supported; supported: {QWEN2_AUDIO}, and others "
        "that make text of audio and that transformers knows by itself"
    )
