"""A key-value cache that is allocated once and filled in place.

transformers' own growing cache copies all keys and values at every step.
"""

from __future__ import annotations

from typing import Any

from transformers import DynamicCache


class PreallocatedCache(DynamicCache):  # type: ignore[misc]  # transformers is untyped
    """Keys and values of all layers, each (batch, heads, up to max_length, head size)."""

    def __init__(self, max_length: int) -> None:
        super().__init__()
        self._max_length = max_length
        self._layers: list[tuple[Any, Any]] = []
        self._lengths: list[int] = []

    def update(
        self, key_states: Any, value_states: Any, layer_idx: int, *_args: Any, **_kwargs: Any
    ) -> tuple[Any, Any]:
        """Appends the states of new positions; returns those of all positions so far."""
        if layer_idx == len(self._layers):
            batch, heads, _, size = key_states.shape
            shape = batch, heads, self._max_length, size
            self._layers.append((key_states.new_empty(shape), value_states.new_empty(shape)))
            self._lengths.append(0)
        start = self._lengths[layer_idx]
        end = start + key_states.shape[-2]
        keys, values = self._layers[layer_idx]
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        self._lengths[layer_idx] = end
        return keys[:, :, :end], values[:, :, :end]

    def get_seq_length(self, layer_idx: int | None = 0) -> int:
        """Positions that a layer holds."""
        index = layer_idx or 0
        return self._lengths[index] if index < len(self._lengths) else 0

    def get_mask_sizes(self, query: Any, layer_idx: int = 0) -> tuple[int, int]:
        """Length and offset of the keys that the next query of so many positions sees."""
        num_new = query if isinstance(query, int) else query.shape[0]
        return self.get_seq_length(layer_idx) + num_new, 0
