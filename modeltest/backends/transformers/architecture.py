"""Which architecture a checkpoint has, and what the installed transformers knows of it.

Qwen2-Audio has an adapter of its own; any other architecture has to be one that transformers
itself can load from files that hold data only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modeltest.backends.transformers.foreign_code import (
    read_json,
    read_object,
    refuse_other_classes,
)
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


def architecture_names(path: Path) -> list[str]:
    """What `config.json` has under `architectures`.

    Raises:
        ModelError: The file cannot be used, or names none.
    """
    file = path / "config.json"
    config = read_object(file)
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


def check_files_of_another(path: Path) -> None:
    """Looks at the files of an architecture that is not Qwen2-Audio's; imports nothing.

    Raises:
        ModelError: It makes no text of audio, or speech beside the text.
    """
    file = path / "config.json"
    config, names = read_object(file), architecture_names(path)
    if not isinstance(config.get("model_type"), str) or not _hears(path):
        raise ModelError(_unsupported(file, names))
    if config.get("talker_config"):
        raise ModelError(
            f"{file}: architecture {names} speaks its replies (talker_config), and its `generate` "
            "does not keep to the settings that it is given; it is not supported"
        )


def auto_class(path: Path) -> str:
    """The Auto class of transformers that loads a checkpoint which is not Qwen2-Audio's.

    Imports transformers and so torch, but no model; to be asked when the device is chosen and
    before transformers reads the checkpoint.

    Raises:
        ModelError: transformers does not know the architecture, or it makes no text of audio, or
            the files name classes of another one.
    """
    from transformers.models.auto import modeling_auto, processing_auto
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES

    file = path / "config.json"
    config, names = read_object(file), architecture_names(path)
    model_type = str(config.get("model_type"))
    _refuse_unknown(file, names[0], model_type, config.get("transformers_version"))
    found = next(
        (
            name
            for mapping, name in _MAPPINGS.items()
            if getattr(modeling_auto, mapping, {}).get(model_type) == names[0]
        ),
        None,
    )
    processor = processing_auto.PROCESSOR_MAPPING_NAMES.get(model_type)
    if found is None or not processor:
        raise ModelError(_unsupported(file, names))
    # Releases leave some architectures out, whose processors then have one of the others'.
    extractor = FEATURE_EXTRACTOR_MAPPING_NAMES.get(model_type)
    classes = {
        "processor_class": {processor},
        "feature_extractor_type": (
            {extractor} if extractor else set(FEATURE_EXTRACTOR_MAPPING_NAMES.values())
        ),
        "tokenizer_class": _TOKENIZERS,
    }
    refuse_other_classes(path, classes)
    return found


def _refuse_unknown(file: Path, name: str, model_type: str, saved_with: Any) -> None:
    import transformers
    from packaging.version import InvalidVersion, Version
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if model_type in CONFIG_MAPPING_NAMES:
        return
    needs = "a newer release"
    try:
        if Version(str(saved_with)) > Version(transformers.__version__):
            needs = f"transformers {saved_with} or newer"
    except InvalidVersion:
        pass
    raise ModelError(
        one_line(
            f"{file}: transformers {transformers.__version__} does not know architecture {name}; "
            f"it needs {needs}"
        )
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


def _unsupported(file: Path, names: Any) -> str:
    return (
        f"{file}: architecture {names} is not supported; supported: {QWEN2_AUDIO}, and others "
        "that make text of audio and that transformers knows by itself"
    )
