"""RepeatPrevious of POPGym (Morad et al., ICLR 2023), learned from rewards alone: PPO in torchrl.

Cards are dealt one by one from shuffled decks, and only suits count. At every step the right action
is the suit of the k-th last card, the one just dealt included: 32 in the Medium task, with two
decks. A right action earns a point and a wrong one costs it; all points together are 1, so that
guessing reaches -.5. A lag head learns k.

    pip install ".[quick-integrations]"                       # in this repository's folder
    python examples/torchrl_repeat_previous.py                # train, then the score of new games
    python examples/torchrl_repeat_previous.py --layer gru    # the same with nn.GRU, or lstm
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from training import command, fit, recurrent

from ramgru import Memory

try:
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule, TensorDictSequential
    from torchrl.collectors import Collector
    from torchrl.data import Binary, Categorical, Composite, OneHot, Unbounded
    from torchrl.envs import EnvBase, InitTracker, RewardScaling, TransformedEnv
    from torchrl.envs.utils import ExplorationType, set_exploration_type
    from torchrl.modules import (
        GRUModule,
        LSTMModule,
        ProbabilisticActor,
        ValueOperator,
        set_recurrent_mode,
    )
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE

    from ramgru.adapters.torchrl import GRU
except ImportError:
    sys.exit("torchrl_repeat_previous.py needs torchrl: pip install torchrl")

EASY, MEDIUM = (1, 4), (2, 32)  # decks, k
SUITS, WIDTH, RATE, STEPS = 4, 32, 3e-2, 160
GAMES, EPOCHS = 32, 4  # games of a rollout, and updates from it
MEMORY = Memory(heads="lag:64 lag:64 lag:64 lag:64", cells=64, width=8)
CHANCE = {"score": -0.5}


class RepeatPrevious(EnvBase):
    """So many games side by side: a suit (games, SUITS), one-hot, and an action (games,)."""

    def __init__(self, games: int, task: tuple[int, int]) -> None:
        super().__init__(batch_size=[games])
        decks, self.k = task
        self.cards = 52 * decks
        shape = (games,)
        self.observation_spec = Composite(
            suit=OneHot(SUITS, (*shape, SUITS), dtype=torch.float32), shape=shape
        )
        self.action_spec = Categorical(SUITS, shape)
        self.reward_spec = Unbounded((*shape, 1))
        self.done_spec = Binary(1, (*shape, 1), dtype=torch.bool)

    @property
    def rewarded(self) -> int:
        """Actions of a game that are right or wrong: none before the k-th card or at the last."""
        return self.cards - self.k

    def _reset(self, tensordict: TensorDict | None, **options: object) -> TensorDict:
        self.suits = torch.rand(*self.batch_size, self.cards).argsort(dim=1) % SUITS
        self.now = 0
        return self._view({})

    def _step(self, tensordict: TensorDict) -> TensorDict:
        reward = torch.zeros(self.batch_size)
        first = self.now + 1 - self.k
        if first >= 0:
            right = tensordict["action"] == self.suits[:, first]
            reward = (2.0 * right - 1) / self.rewarded
        self.now += 1
        return self._view({"reward": reward.unsqueeze(-1)})

    def _view(self, more: dict[str, Tensor]) -> TensorDict:
        suit = nn.functional.one_hot(self.suits[:, self.now], SUITS).float()
        done = torch.full((*self.batch_size, 1), self.now == self.cards - 1)
        values = {"suit": suit, "done": done, "terminated": done.clone(), **more}
        return TensorDict(values, self.batch_size)

    def _set_seed(self, seed: int | None) -> None:
        torch.manual_seed(seed or 0)


def remembering(layer: str) -> tuple[GRUModule | LSTMModule, int]:
    """-> the layer in torchrl's module, which reads `suit` and writes `y`; the width of `y`."""
    peer = recurrent(layer, SUITS, WIDTH, MEMORY, outputs=SUITS + 1)
    if layer == "lstm":
        out = ["y", ("next", "h"), ("next", "c")]
        return LSTMModule(lstm=peer, in_keys=["suit", "h", "c"], out_keys=out), peer.hidden_size
    gru = GRU(SUITS, WIDTH, memory=MEMORY) if layer == "ramgru" else peer
    module = GRUModule(gru=gru, in_keys=["suit", "h"], out_keys=["y", ("next", "h")])
    return module, peer.hidden_size


def run(
    layer: str = "ramgru",
    rate: float = RATE,
    seed: int = 0,
    seconds: float | None = None,
    task: tuple[int, int] = MEDIUM,
    steps: int = STEPS,
) -> dict[str, float]:
    """Train and test."""
    torch.manual_seed(seed)
    memory, width = remembering(layer)
    head = TensorDictModule(nn.Linear(width, SUITS), in_keys=["y"], out_keys=["logits"])
    actor = ProbabilisticActor(
        TensorDictSequential(memory, head),
        in_keys=["logits"],
        distribution_class=torch.distributions.Categorical,
        return_log_prob=True,
    )
    critic = ValueOperator(nn.Linear(width, 1), in_keys=["y"])

    game = RepeatPrevious(GAMES, task)
    env = TransformedEnv(game, InitTracker())
    env.append_transform(memory.make_tensordict_primer())
    env.append_transform(RewardScaling(0.0, game.rewarded))  # to -1 and 1, for the critic
    ppo = ClipPPOLoss(actor, critic, entropy_coeff=0.01, critic_coeff=0.5, normalize_advantage=True)
    # An action has no effect on later cards or rewards, so that these would only add noise.
    advantage = GAE(
        gamma=0.0,
        lmbda=0.0,
        value_network=TensorDictSequential(memory, critic),
        deactivate_vmap=True,
        shifted=True,
    )
    frames = GAMES * (game.cards - 1)
    collector = Collector(env, actor, frames_per_batch=frames, total_frames=-1)

    def updates() -> Iterator[Tensor]:
        for played in collector:
            with set_recurrent_mode(True), torch.no_grad():
                advantage(played)
            for _ in range(EPOCHS):
                with set_recurrent_mode(True):
                    terms = ppo(played)
                yield sum(value for name, value in terms.items() if name.startswith("loss_"))

    each = updates()
    cost = fit(ppo, lambda: next(each), rate, steps, seconds)

    def play() -> tuple[float, float]:
        """-> points lost if actions are drawn from the policy, and the score of its best actions.

        The first tells apart policies whose best actions are all right.
        """
        with set_exploration_type(ExplorationType.DETERMINISTIC), torch.no_grad():
            played = env.rollout(game.cards, actor)
        due = game.suits[:, : game.rewarded, None]
        right = played["logits"][:, game.k - 1 :].softmax(-1).gather(-1, due).mean()
        score = float(played["next", "reward"].sum()) / game.rewarded / GAMES
        return 2 * (1 - right.item()), score

    torch.manual_seed(10**6 + seed)  # games that training never dealt
    found = {**cost, "loss": play()[0], "score": play()[1]}
    collector.shutdown()
    return found


if __name__ == "__main__":
    command(__doc__, run, RATE)
