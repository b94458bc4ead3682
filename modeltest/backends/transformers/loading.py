"""A checkpoint's processor, generation settings and weights, from its folder only.

Offline by construction: nothing is fetched, safetensors only, no code of the checkpoint runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modeltest.backends.transformers.architecture import QWEN2_AUDIO, is_qwen2_audio
from modeltest.errors import ModelError, one_line

_TORCH_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def load_processor(path: Path) -> Any:
    """The checkpoint's processor.

    Raises:
        ModelError: Its files cannot be used.
    """
    import transformers

    with named_failures(f"{path}: the processor's files cannot be used"):
        processor = transformers.AutoProcessor.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
        if processor.tokenizer.pad_token_id is None:
            raise ValueError("the tokenizer has no pad token")
    return processor


def load_generation_config(path: Path) -> Any:
    """The checkpoint's generation settings, or None where it has none.

    Where their file is missing, those of another architecture than Qwen2-Audio's are in
    `config.json`, as transformers takes them.

    Raises:
        ModelError: The file cannot be used.
    """
    import transformers

    file = path / "generation_config.json"
    if not file.is_file():
        if is_qwen2_audio(path):
            return None
        config = load_config(path)
        with named_failures(f"{path / 'config.json'} cannot be used"):
            return transformers.GenerationConfig.from_model_config(config)
    with named_failures(f"{file} cannot be used"):
        return transformers.GenerationConfig.from_pretrained(path, local_files_only=True)


def load_config(path: Path) -> Any:
    """The checkpoint's configuration, with transformers' defaults for what it leaves out.

    Raises:
        ModelError: The file cannot be used.
    """
    import transformers

    with named_failures(f"{path / 'config.json'} cannot be used"):
        return transformers.AutoConfig.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )


def load_model(path: Path, data_type: str, attention: str, model_class: str) -> Any:
    """The model on the host, every weight from the checkpoint.

    Args:
        path: The checkpoint's folder.
        data_type: `bf16`, `fp16` or `fp32`.
        attention: `sdpa`, `eager` or `flash_attention_2`.
        model_class: The class of transformers that loads it; an Auto class will do.

    Raises:
        ModelError: It cannot be loaded, or weights are missing or have another shape.
    """
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    release = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    dtype_keyword = "dtype" if release >= (4, 56) else "torch_dtype"
    if attention == "flash_attention_2" and model_class == QWEN2_AUDIO and release < (5, 0):
        raise ModelError(
            f"transformers {transformers.__version__} gives the audio encoder a mask that "
            "flash_attention_2 misreads; use sdpa or eager, or transformers 5"
        )
    with named_failures(f"{path}: the model cannot be loaded"):
        model, report = getattr(transformers, model_class).from_pretrained(
            path,
            attn_implementation=attention,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **{dtype_keyword: getattr(torch, _TORCH_DTYPES[data_type])},
        )
    _refuse_partial_load(report, path)
    return model


@contextmanager
def named_failures(what: str) -> Iterator[None]:
    """Turns what transformers raises on broken files into one line."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # tokenizers raises that very class, releases have their own
        detail = one_line(" ".join(str(error).split()))[:300]
        raise ModelError(f"{what}: {type(error).__name__}: {detail}") from error


def _refuse_partial_load(report: Mapping[str, Any], path: Path) -> None:
    missing = sorted(report.get("missing_keys", ()))
    mismatched = sorted(str(key) for key in report.get("mismatched_keys", ()))
    if missing or mismatched:
        names = ", ".join([*missing, *mismatched][:5])
        raise ModelError(
            f"{path}: {len(missing)} weights are missing and {len(mismatched)} have another "
            f"shape ({names}); transformers would fill them with random numbers"
        )
