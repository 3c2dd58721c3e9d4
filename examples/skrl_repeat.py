"""skrl: an agent that must say what it saw four steps ago, by `PPO_RNN`. No adapter is needed.

`carry="flat"` makes the state one tensor, and `reset=` starts anew where an episode has ended.
"""

from __future__ import annotations

import tempfile
from types import SimpleNamespace
from typing import Any

import gymnasium
import torch
from skrl.agents.torch.ppo import PPO_RNN
from skrl.envs.wrappers.torch import Wrapper
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model
from skrl.trainers.torch import SequentialTrainer
from torch import Tensor, nn

from ramgru import RAMGRU, Memory

SYMBOLS, BACK, LENGTH, ENVS, SEQUENCE = 4, 4, 24, 64, 24


class Repeat(Wrapper):
    """Each step shows one of four symbols; the right action is the symbol of BACK steps before."""

    def __init__(self) -> None:
        spaces = {
            "observation_space": gymnasium.spaces.Box(0, 1, (SYMBOLS,)),
            "action_space": gymnasium.spaces.Discrete(SYMBOLS),
        }
        super().__init__(SimpleNamespace(num_envs=ENVS, device="cpu", **spaces))
        self.rewards: list[float] = []

    def reset(self) -> tuple[Tensor, dict[str, Any]]:
        self.shown, self.now = torch.randint(SYMBOLS, (ENVS, LENGTH + 1)), 0
        return self._view(), {}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        right = torch.zeros(ENVS, 1)
        if self.now >= BACK:
            right = (actions == self.shown[:, self.now - BACK].unsqueeze(1)).float()
            self.rewards.append(float(right.mean()))
        self.now += 1
        ended = torch.full((ENVS, 1), self.now == LENGTH)
        if self.now == LENGTH:
            self.reset()
        return self._view(), right, ended, torch.zeros_like(ended), {}

    def _view(self) -> Tensor:
        return nn.functional.one_hot(self.shown[:, self.now], SYMBOLS).float()

    def state(self) -> None: ...
    def render(self, *args: Any, **options: Any) -> None: ...
    def close(self) -> None: ...


class Recurrent(Model):
    """The layer with a linear head, as a model of skrl."""

    def __init__(self, env: Repeat, outputs: int) -> None:
        Model.__init__(
            self,
            observation_space=env.observation_space,
            action_space=env.action_space,
            device="cpu",
        )
        memory = Memory(cells=8, heads="lag:8 lag:8", width=16)
        self.rnn = RAMGRU(SYMBOLS, 32, batch_first=True, carry="flat", memory=memory)
        self.head = nn.Linear(32, outputs)

    def get_specification(self) -> dict[str, Any]:
        size = (self.rnn.num_layers, ENVS, self.rnn.hidden_size)
        return {"rnn": {"sequence_length": SEQUENCE, "sizes": [size]}}

    def compute(self, inputs: dict[str, Any], role: str) -> tuple[Tensor, dict[str, Any]]:
        x, (state,) = inputs["observations"], inputs["rnn"]
        if not self.training:
            y, state = self.rnn(x.unsqueeze(1), state)
            return self.head(y[:, 0]), {"rnn": [state]}
        x = x.view(-1, SEQUENCE, SYMBOLS)
        first = state.unflatten(1, (-1, SEQUENCE))[:, :, 0]  # the state before each sequence
        ended = (inputs["terminated"] | inputs["truncated"]).view(-1, SEQUENCE)
        reset = ended.roll(1, dims=1)
        reset[:, 0] = False
        y, state = self.rnn(x, first, reset=reset)
        return self.head(y.flatten(0, 1)), {"rnn": [state]}


class Policy(CategoricalMixin, Recurrent):
    def __init__(self, env: Repeat) -> None:
        Recurrent.__init__(self, env, SYMBOLS)
        CategoricalMixin.__init__(self)


class Value(DeterministicMixin, Recurrent):
    def __init__(self, env: Repeat) -> None:
        Recurrent.__init__(self, env, 1)
        DeterministicMixin.__init__(self)


def main(steps: int = 25) -> float:
    """Train for so many rounds of one episode; -> the share of right actions of the last one."""
    torch.manual_seed(0)
    env = Repeat()
    with tempfile.TemporaryDirectory() as folder:
        agent = PPO_RNN(
            models={"policy": Policy(env), "value": Value(env)},
            memory=RandomMemory(memory_size=LENGTH, num_envs=ENVS, device="cpu"),
            observation_space=env.observation_space,
            action_space=env.action_space,
            device="cpu",
            cfg={
                "rollouts": LENGTH,
                "learning_epochs": 4,
                "mini_batches": 1,
                "discount_factor": 0.2,
                "learning_rate": 5e-3,
                "entropy_loss_scale": 0.01,
                "experiment": {
                    "directory": folder,
                    "write_interval": 0,
                    "checkpoint_interval": 0,
                },
            },
        )
        cfg = {
            "timesteps": steps * LENGTH,
            "headless": True,
            "disable_progressbar": True,
            "close_environment_at_exit": False,
        }
        SequentialTrainer(env=env, agents=agent, cfg=cfg).train()
    last = env.rewards[-(LENGTH - BACK) :]
    share = sum(last) / len(last)
    print(f"{share:.0%} of the actions are right after {steps} rounds (a guess: 25 %)")
    return share


if __name__ == "__main__":
    main()
