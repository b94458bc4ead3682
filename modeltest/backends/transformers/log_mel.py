"""Whisper's log-mel features on the clips' real length instead of on 30 seconds.

Bit-identical to transformers' WhisperFeatureExtractor on every frame: the same operations
run on fewer samples, and the frames behind a clip come out of zeros there as here.

Shape suffixes: C clips, M mel bins, F frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class LogMel:
    """Computes features with a feature extractor's own settings."""

    def __init__(self, extractor: Any) -> None:
        import torch

        self.hop_length = int(extractor.hop_length)
        self._n_fft = int(extractor.n_fft)
        self._window = torch.hann_window(self._n_fft)
        filters = torch.from_numpy(extractor.mel_filters).to(torch.float32)
        self._filters = filters.T.contiguous()

    def num_frames(self, waveform: NDArray[np.float32]) -> int:
        """Frames that a clip fills, a begun one included."""
        return -(-len(waveform) // self.hop_length)

    def __call__(self, waveforms: Sequence[NDArray[np.float32]], num_frames: int) -> Any:
        """Features of a batch.

        Args:
            waveforms: Mono clips at the extractor's rate, C of them.
            num_frames: F; clips end at least a window before it, or at it.

        Returns:
            float32 tensor (C, M, F) on the host.
        """
        import torch

        padded = np.zeros((len(waveforms), num_frames * self.hop_length), dtype=np.float32)
        for row, waveform in zip(padded, waveforms, strict=True):
            row[: len(waveform)] = waveform
        spectrum = torch.stft(
            torch.from_numpy(padded),
            self._n_fft,
            self.hop_length,
            window=self._window,
            return_complex=True,
        )
        # The extractor drops the last frame; a strided matmul would be slow.
        power = (spectrum[..., :-1].abs() ** 2).contiguous()
        log = torch.clamp(self._filters @ power, min=1e-10).log10()
        loudest = log.amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(log, loudest - 8.0) + 4.0) / 4.0
