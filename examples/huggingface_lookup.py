"""Hugging Face: a byte model that looks values up, by `Trainer` and `generate`.

A text names letters and their digits, and then asks for some: "k3 a7 x1 ?a" goes on with "7".
"""

from __future__ import annotations

import tempfile

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from ramgru.adapters.huggingface import RAMGRUConfig, RAMGRUForCausalLM

PAIRS, ASKED = 6, 6


def texts(count: int, seed: int) -> list[bytes]:
    """Each text: pairs, then questions with their answers."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        letters = [97 + int(n) for n in torch.randperm(26, generator=draw)[:PAIRS]]
        digits = [48 + int(n) for n in torch.randint(10, (PAIRS,), generator=draw)]
        pairs = [bytes((letter, digit)) for letter, digit in zip(letters, digits)]
        order = torch.randperm(PAIRS, generator=draw)[:ASKED].tolist()
        found.append(b" ".join(pairs) + b" " + b" ".join(b"?" + pairs[n] for n in order))
    return found


def main(steps: int = 200) -> float:
    """Train, save, load and ask; -> the share of right answers."""
    torch.manual_seed(0)
    memory = {"heads": "key key learned learned", "gate_bias": -1.0}
    config = RAMGRUConfig(
        vocab_size=128, d_model=48, nhead=4, memory_size=1024, memory=memory, write_cost=0.02
    )
    rows = []
    for text in texts(64 * steps, seed=0):
        ids = torch.tensor(list(text))
        asked = torch.zeros_like(ids).bool()
        asked[[n + 2 for n, byte in enumerate(text) if byte == ord("?")]] = True
        rows.append({"input_ids": ids, "labels": torch.where(asked, ids, -100)})
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=64,
            learning_rate=5e-3,
            lr_scheduler_type="cosine",
            logging_steps=max(1, steps // 5),
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = Trainer(RAMGRUForCausalLM(config), arguments, train_dataset=rows)
        trainer.train()
        trainer.save_model(folder)
        model = AutoModelForCausalLM.from_pretrained(folder).eval()

    right, count = 0, 200
    for text in texts(count, seed=1):
        at = text.rindex(b"?") + 2
        prompt = torch.tensor([list(text[:at])])
        answer = model.generate(prompt, max_new_tokens=1, do_sample=False)[0, -1]
        right += int(answer) == text[at]
    print(f"{text[:at].decode()} -> {chr(int(answer))}")
    print(f"{right / count:.0%} of {count} questions are answered right (a guess: 10 %)")
    return right / count


if __name__ == "__main__":
    main()
