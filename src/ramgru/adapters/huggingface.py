"""The token model as a Hugging Face model: config, `Trainer`, `generate`, save and load.

The cache of `generate` is the state of the layers, whose size does not grow. B sequences, T tokens.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from ramgru.config import Memory
from ramgru.model import RAMGRUModel
from ramgru.open_gates import write_cost
from ramgru.state import RAMGRUState


class RAMGRUConfig(PreTrainedConfig):
    """The arguments of `RAMGRUModel`, and the weight of `ramgru.write_cost` while training.

    memory: the values of `ramgru.Memory` that are not its defaults, as in {"heads": "key lag"}
    """

    model_type = "ramgru"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012
    attribute_map = {  # noqa: RUF012 - transformers reads it from the class
        "hidden_size": "d_model",
        "num_attention_heads": "nhead",
        "num_hidden_layers": "num_layers",
    }

    vocab_size: int = 256
    d_model: int = 64
    nhead: int = len(Memory.heads)
    memory_size: int = Memory.cells
    num_layers: int = 2
    memory: dict[str, Any] | None = None
    controller: str = "gru"
    checkpoint_every: int | None = None
    features: int = 0
    outputs: int = 0
    mlp_ratio: float = 0.0
    dropout: float = 0.0
    write_cost: float = 0.0
    use_cache: bool = True

    def arguments(self) -> dict[str, Any]:
        """The arguments of `RAMGRUModel`."""
        names = [name for name in signature(RAMGRUModel).parameters if name != "memory"]
        memory = Memory(**(self.memory or {}))
        return {**{name: getattr(self, name) for name in names}, "memory": memory}


class RAMGRUCache:
    """The state of every block after the tokens so far: what `generate` passes from step to step.

    Each step replaces the states, as with any cache of transformers; `copy.deepcopy` keeps a copy.
    """

    is_compileable = False

    def __init__(self, states: list[RAMGRUState], length: int) -> None:
        self.states, self.length = states, length

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens that the states have read, padding included."""
        return self.length

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the sequences of these numbers, for beam search."""
        self.states = [state[beam_idx] for state in self.states]

    batch_select_indices = reorder_cache

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each sequence so many times."""
        rows = torch.arange(self.states[0].batch_size).repeat_interleave(repeats)
        self.reorder_cache(rows)


class RAMGRUForCausalLM(PreTrainedModel, GenerationMixin):
    """`RAMGRUModel` for next-token prediction.

    `from_pretrained` also reads the folder of `RAMGRUModel.save_pretrained`, and so the folder
    `model` of a run of `ramgru train` on text.
    """

    config_class = RAMGRUConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    _is_stateful = True  # a state cannot go back: no assisted generation
    _no_split_modules = ("Block",)

    def __init__(self, config: RAMGRUConfig) -> None:
        super().__init__(config)
        self.model = RAMGRUModel(**config.arguments())
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """The layers have initialised themselves."""

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # `forward` makes the cache

    def get_input_embeddings(self) -> nn.Module:
        return self.model.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.model.embedding = value  # also the head, which uses its weights

    def get_output_embeddings(self) -> None:
        """None: the head is the embedding itself."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: RAMGRUCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Logits (B, T, V) of input_ids (B, T), which go on after `past_key_values`.

        attention_mask: (B, T), or (B, all tokens so far): 0 at padding, left or right of a sequence
        labels:         (B, T) as input_ids, which the loss shifts; -100 where nothing is asked
        logits_to_keep: the logits of so many last positions only; 0: of all
        """
        cache, steps = past_key_values, input_ids.shape[1]
        use_cache = (
            use_cache if use_cache is not None else not self.training and self.config.use_cache
        )
        ragged = _ragged(attention_mask, steps)
        before = None if cache is None else cache.states
        if steps == 1 and before is not None and not ragged and not torch.is_grad_enabled():
            last, states = self.model.step(input_ids[:, 0], before)
            hidden = last.unsqueeze(1)
        else:
            carry = use_cache or cache is not None
            hidden, states = self.model.hidden(input_ids, before, carry=carry, **ragged)
        if cache is not None:
            cache.states, cache.length = states, cache.length + steps
        elif use_cache:
            cache = RAMGRUCache(states, steps)
        logits = self.model.head(hidden[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            size = self.config.vocab_size
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=size, **kwargs)
            if self.config.write_cost and self.training and torch.is_grad_enabled():
                cost = write_cost(self, self.config.write_cost)
                loss = loss + (cost - cost.detach())  # in the gradient, not in the loss shown
        shown = cache if use_cache else None
        if return_dict is False:
            return tuple(value for value in (loss, logits, shown) if value is not None)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=shown)


def _ragged(mask: Tensor | None, steps: int) -> dict[str, Tensor]:
    """The options of a layer for a mask: `reset` where padding on the left ends, `lengths` where
    padding on the right begins; nothing without padding."""
    if mask is None or bool(mask.all()):
        return {}
    if mask.dim() != 2 or mask.shape[1] < steps:
        raise ValueError(
            f"attention_mask: expected (B, {steps}) or longer, got {tuple(mask.shape)}"
        )
    shown = nn.functional.pad(mask.bool(), (1, 0), value=False)
    begins = shown[:, 1:] & ~shown[:, :-1]
    if bool((begins.sum(1) > 1).any()):
        raise ValueError("attention_mask: expected padding on the left or right, got a gap")
    now, found = mask[:, -steps:].bool(), {}
    begins[:, 0] = False  # a sequence without padding on the left goes on, or is fresh
    if bool(begins[:, -steps:].any()):
        found["reset"] = begins[:, -steps:]
    ends = steps - now.flip(1).int().argmax(1)
    if bool((ends < steps).any()):
        found["lengths"] = ends
    return found


AutoConfig.register(RAMGRUConfig.model_type, RAMGRUConfig)
AutoModelForCausalLM.register(RAMGRUConfig, RAMGRUForCausalLM)
