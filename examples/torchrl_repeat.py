"""torchrl: an agent that must say what it saw four steps ago, trained by PPO on a CPU.

A policy without memory is right in one of four steps. Prints the share of right actions per round.
"""

from __future__ import annotations

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn
from torchrl.collectors import Collector
from torchrl.data import Binary, Categorical, Composite, OneHot, Unbounded
from torchrl.envs import EnvBase, InitTracker, TransformedEnv
from torchrl.modules import GRUModule, ProbabilisticActor, ValueOperator, set_recurrent_mode
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from ramgru import Memory
from ramgru.adapters.torchrl import GRU

SYMBOLS, BACK, LENGTH, ENVS = 4, 4, 24, 128


class Repeat(EnvBase):
    """Each step shows one of four symbols; the right action is the symbol of BACK steps before."""

    def __init__(self, envs: int) -> None:
        super().__init__(batch_size=[envs])
        shape = (envs,)
        self.observation_spec = Composite(
            symbol=OneHot(SYMBOLS, (*shape, SYMBOLS), dtype=torch.float32), shape=shape
        )
        self.action_spec = Categorical(SYMBOLS, shape)
        self.reward_spec = Unbounded((*shape, 1))
        self.done_spec = Binary(1, (*shape, 1), dtype=torch.bool)

    def _reset(self, tensordict: TensorDict | None, **options: object) -> TensorDict:
        self.shown = torch.randint(SYMBOLS, (*self.batch_size, LENGTH + 1))
        self.now = 0
        return self._view({})

    def _step(self, tensordict: TensorDict) -> TensorDict:
        due = self.shown[:, self.now - BACK] if self.now >= BACK else None
        right = tensordict["action"] == due if due is not None else torch.zeros(self.batch_size)
        self.now += 1
        return self._view({"reward": right.float().unsqueeze(-1)})

    def _view(self, more: dict[str, Tensor]) -> TensorDict:
        symbol = nn.functional.one_hot(self.shown[:, self.now], SYMBOLS).float()
        done = torch.full((*self.batch_size, 1), self.now == LENGTH)
        values = {"symbol": symbol, "done": done, "terminated": done.clone(), **more}
        return TensorDict(values, self.batch_size)

    def _set_seed(self, seed: int | None) -> None:
        torch.manual_seed(seed or 0)


def main(steps: int = 12) -> float:
    """Train for so many rounds; -> the share of right actions of the last one."""
    torch.manual_seed(0)

    gru = GRU(SYMBOLS, 32, memory=Memory(cells=8, heads="lag:8 lag:8", width=16))
    memory = GRUModule(gru=gru, in_keys=["symbol", "rs"], out_keys=["y", ("next", "rs")])
    head = TensorDictModule(nn.Linear(32, SYMBOLS), in_keys=["y"], out_keys=["logits"])
    actor = ProbabilisticActor(
        TensorDictSequential(memory, head),
        in_keys=["logits"],
        distribution_class=torch.distributions.Categorical,
        return_log_prob=True,
    )
    critic = ValueOperator(nn.Linear(32, 1), in_keys=["y"])
    env = TransformedEnv(Repeat(ENVS), InitTracker())
    env.append_transform(memory.make_tensordict_primer())
    print(f"each step of a rollout keeps a state of {gru.hidden_size} numbers")

    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.01, critic_coeff=0.5)
    values = TensorDictSequential(memory, critic)
    advantage = GAE(gamma=0.2, lmbda=0.95, value_network=values, deactivate_vmap=True)
    optimizer = torch.optim.Adam(loss.parameters(), lr=5e-3)
    frames = ENVS * LENGTH
    collector = Collector(env, actor, frames_per_batch=frames, total_frames=frames * steps)
    share = 0.0
    for number, data in enumerate(collector):
        share = float(data["next", "reward"].mean()) * LENGTH / (LENGTH - BACK)
        with set_recurrent_mode(True):
            with torch.no_grad():
                advantage(data)
            for _ in range(4):
                terms = loss(data)
                total = sum(v for k, v in terms.items() if k.startswith("loss_"))
                optimizer.zero_grad()
                total.backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 1.0)
                optimizer.step()
        if number % 4 == 3:
            print(f"round {number + 1}: {share:.0%} right", flush=True)
    collector.shutdown()
    return share


if __name__ == "__main__":
    main()
