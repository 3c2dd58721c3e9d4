"""The token model inside transformers: generating, training, saving and padding."""

from __future__ import annotations

import copy
from inspect import signature

import pytest
import torch

pytest.importorskip("transformers")
pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore")]

from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from ramgru import RAMGRUModel  # noqa: E402
from ramgru.adapters.huggingface import RAMGRUConfig, RAMGRUForCausalLM  # noqa: E402

V = 23


def made(**options) -> RAMGRUForCausalLM:
    sizes = {"vocab_size": V, "d_model": 16, "nhead": 5, "memory_size": 64, "num_layers": 2}
    memory = {"heads": "key key:2 learned lag tape"}
    model = RAMGRUForCausalLM(RAMGRUConfig(**{**sizes, "memory": memory, **options}))
    for layer in model.model.layers:  # so that the memory counts
        for memory in layer.memories:
            torch.nn.init.normal_(memory.read_out.weight)
    return model.eval()


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(V, shape)


def test_config_has_the_arguments_of_the_model():
    named = {name: p.default for name, p in signature(RAMGRUModel).parameters.items()}
    config = RAMGRUConfig()
    for name, default in named.items():
        if name != "memory" and default is not signature(RAMGRUModel).empty:
            assert getattr(config, name) == default, name
    assert config.hidden_size == config.d_model
    assert set(config.arguments()) == set(named)


@pytest.mark.parametrize("cached", [True, False])
def test_greedy_generation_equals_the_model_s_own(cached):
    model, src = made(), tokens(3, 7)
    found = model.generate(src, max_new_tokens=9, do_sample=False, use_cache=cached)
    assert torch.equal(found[:, 7:], model.model.generate(src, 9))


def test_padding_on_the_left_changes_nothing():
    model, lengths = made(), [4, 9, 6]
    prompts = [tokens(1, n) for n in lengths]
    padded, mask = torch.zeros(3, 9, dtype=torch.int64), torch.zeros(3, 9, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        padded[row, 9 - lengths[row] :], mask[row, 9 - lengths[row] :] = prompt[0], 1
    found = model.generate(padded, attention_mask=mask, max_new_tokens=8, do_sample=False)
    for row, prompt in enumerate(prompts):
        assert torch.equal(found[row, 9:], model.model.generate(prompt, 8)[0])


@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_of_padded_sequences(side):
    model, lengths = made(), [1, 9, 6]
    x, mask = tokens(3, 9), torch.zeros(3, 9, dtype=torch.int64)
    for row, n in enumerate(lengths):
        mask[row, slice(9 - n, 9) if side == "left" else slice(n)] = 1
    logits = model(x, attention_mask=mask).logits
    for row in range(3):
        shown = mask[row].bool()
        alone = model(x[row : row + 1, shown]).logits[0]
        torch.testing.assert_close(logits[row, shown], alone, rtol=1e-5, atol=1e-5)


def test_a_mask_with_a_gap_is_refused():
    with pytest.raises(ValueError, match="padding on the left or right, got a gap"):
        made()(tokens(1, 4), attention_mask=torch.tensor([[1, 0, 1, 1]]))


@torch.no_grad()
def test_a_cache_goes_on_where_it_ended_and_a_copy_stays():
    model, x = made(), tokens(2, 10)
    whole = model(x).logits
    cache = model(x[:, :5]).past_key_values
    kept = copy.deepcopy(cache)
    for t in range(5, 10):
        found = model(x[:, t : t + 1], past_key_values=cache).logits
        torch.testing.assert_close(found[:, 0], whole[:, t], rtol=1e-5, atol=1e-5)
    assert (cache.get_seq_length(), kept.get_seq_length()) == (10, 5)
    again = model(x[:, 5:], past_key_values=kept).logits
    torch.testing.assert_close(again, whole[:, 5:], rtol=1e-5, atol=1e-5)


def test_generation_goes_on_with_a_cache():
    model, src = made(), tokens(2, 6)
    first = model.generate(src, max_new_tokens=4, do_sample=False, return_dict_in_generate=True)
    more = torch.cat([first.sequences, tokens(2, 3)], dim=1)
    found = model.generate(
        more, past_key_values=first.past_key_values, max_new_tokens=5, do_sample=False
    )
    assert torch.equal(found[:, more.shape[1] :], model.model.generate(more, 5))


def test_beams_are_the_best_of_all_sequences():
    model, src = made(), tokens(2, 5)
    found = model.generate(src, max_new_tokens=2, num_beams=V, do_sample=False, length_penalty=0.0)
    every = torch.cartesian_prod(torch.arange(V), torch.arange(V))  # all continuations of 2 tokens
    for row in range(2):
        whole = torch.cat([src[row].expand(len(every), -1), every], dim=1)
        logits = model(whole).logits.log_softmax(-1)[:, 4:-1]
        scores = logits.gather(-1, every.unsqueeze(-1)).sum((1, 2))
        assert torch.equal(found[row, 5:], every[scores.argmax()])


def test_sampling_several_sequences():
    model, src = made(), tokens(2, 12)
    found = model.generate(src, do_sample=True, num_return_sequences=3, max_new_tokens=4)
    assert torch.equal(found[:, :12], src.repeat_interleave(3, dim=0))
    assert found.shape == (6, 16)


def test_saved_and_loaded_by_every_name(tmp_path):
    model, x = made(dropout=0.1), tokens(2, 8)
    model.save_pretrained(tmp_path / "hf")
    for kind in (RAMGRUForCausalLM, AutoModelForCausalLM):
        loaded = kind.from_pretrained(tmp_path / "hf")
        assert torch.equal(loaded(x).logits, model(x).logits)
        assert loaded.config.arguments() == model.config.arguments()
    model.model.save_pretrained(tmp_path / "own")  # as a run of `ramgru train` keeps it
    loaded = RAMGRUForCausalLM.from_pretrained(tmp_path / "own")
    assert torch.equal(loaded(x).logits, model(x).logits)
    half = RAMGRUForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.bfloat16)
    assert half(x).logits.dtype == torch.bfloat16


def test_a_new_model_has_the_weights_of_the_layers_own_start():
    torch.manual_seed(0)
    model = RAMGRUForCausalLM(RAMGRUConfig(vocab_size=V, d_model=16, memory_size=64))
    torch.manual_seed(0)
    own = RAMGRUModel(**model.config.arguments())
    for name, value in own.state_dict().items():
        assert torch.equal(value, model.model.state_dict()[name]), name


def test_the_loss_is_that_of_the_next_token_and_the_price_is_in_the_gradient_alone():
    model, x = made().train(), tokens(2, 8)
    loss = model(x, labels=x).loss
    logits = model(x).logits[:, :-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, x[:, 1:].flatten())
    torch.testing.assert_close(loss, expected)

    def gradient(price: float) -> tuple[torch.Tensor, torch.Tensor]:
        model.config.write_cost = price
        model.zero_grad()
        loss = model(x, labels=x).loss
        loss.backward()
        memory = model.model.layers[0].memories[0]
        return loss.detach(), torch.cat([p.grad.flatten() for p in memory.parameters()])

    (free, without), (priced, with_price) = gradient(0.0), gradient(1.0)
    torch.testing.assert_close(free, priced)
    assert not torch.allclose(without, with_price)


class Losses(TrainerCallback):
    def __init__(self) -> None:
        self.found: list[float] = []

    def on_log(self, args, state, control, logs=None, **more) -> None:
        self.found += [logs["loss"]] if "loss" in logs else []


def test_trainer_learns_saves_and_resumes(tmp_path):
    torch.manual_seed(0)
    rows = [{"input_ids": row, "labels": row} for row in tokens(4, 12)]  # to be learned by heart

    def trained(steps: int, **resume) -> tuple[Trainer, list[float]]:
        torch.manual_seed(1)
        losses = Losses()
        arguments = TrainingArguments(
            output_dir=str(tmp_path / "out"),
            max_steps=steps,
            save_steps=10,
            logging_steps=1,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            per_device_train_batch_size=4,
        )
        model = made(d_model=24, write_cost=0.1)
        trainer = Trainer(model, arguments, train_dataset=rows, callbacks=[losses])
        trainer.train(**resume)
        return trainer, losses.found

    whole, losses = trained(20)
    assert losses[-1] < 0.5 * losses[0]
    assert whole.evaluate(rows)["eval_loss"] < losses[0]
    resumed, again = trained(20, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-10"))
    torch.testing.assert_close(again[-1], losses[-1], rtol=1e-4, atol=1e-4)
