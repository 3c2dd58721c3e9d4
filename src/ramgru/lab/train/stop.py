"""When a run has learnt enough, or learns no more."""

from __future__ import annotations

from typing import Any, Literal


class StopRule:
    """Stops at a target, or after `patience` evaluations without progress.

    Progress is a better metric or a lower loss: a metric that rests at its plateau while the loss
    still falls is about to move.
    """

    def __init__(self, target: float | None, patience: int) -> None:
        self.target, self.patience = target, patience
        self.best_score = float("-inf")
        self.best_loss = float("inf")
        self.stale = 0

    def update(self, score: float, loss: float, *, patient: bool = False) -> None:
        """Take in one evaluation. patient: it does not count against patience (the curriculum has
        not come to the task itself yet)."""
        better = score > self.best_score or loss < self.best_loss
        self.best_score = max(self.best_score, score)
        self.best_loss = min(self.best_loss, loss)
        self.stale = 0 if better or patient else self.stale + 1

    @property
    def reason(self) -> Literal["target", "patience"] | None:
        """Why to stop now, if there is a reason; it outlives a checkpoint."""
        if self.target is not None and self.best_score >= self.target:
            return "target"
        if self.patience and self.stale >= self.patience:
            return "patience"
        return None

    def state_dict(self) -> dict[str, Any]:
        seen = self.best_score > float("-inf")
        return {
            "best_score": self.best_score if seen else None,
            "best_loss": self.best_loss if seen else None,
            "stale": self.stale,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["best_score"] is not None:
            self.best_score = float(state["best_score"])
            self.best_loss = float(state["best_loss"])
        self.stale = int(state["stale"])
