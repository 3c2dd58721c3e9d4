"""What each meter is asked, as one dataclass a meter."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ramgru.lab.evaluate.meters.memorise import Practice
from ramgru.lab.evaluate.sweep import Effort
from ramgru.lab.train import ModelConfig

SMALL = ModelConfig(d_model=8, num_layers=1)  # few parameters are soon full


@dataclass(frozen=True)
class CapacityConfig:
    """How many past inputs the units of a model hold."""

    run: Path | None = None
    """Directory of a run, whose trained model is measured; None: a fresh one, as model says."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network, untrained, where no run is given."""
    delays: int = 64
    """The longest delay that is asked for."""
    steps: int = 8192
    """Steps of noise to fit the readouts on, and as many to measure them on."""
    seed: int = 0
    """Seed of the noise, and of the weights of a fresh model."""
    threads: int = 0
    """CPU threads of torch; 0: torch's own choice."""
    out: Path | None = None
    """File to write; None: meter-capacity.json in the run, or in runs/."""

    def __post_init__(self) -> None:
        _check(self, ModelConfig())


@dataclass(frozen=True)
class ParametersConfig:
    """How many random bits the weights of a model can be trained to hold."""

    run: Path | None = None
    """Directory of a run, whose kind of network is measured, afresh; None: as model says."""
    model: ModelConfig = SMALL
    """The network, where no run is given."""
    items: tuple[int, ...] = (256, 512, 1024)
    """Numbers of items to learn; with fewer items than bits that fit, all of them are held."""
    effort: Practice = field(default_factory=Practice)
    """The items, and how they are learnt."""
    out: Path | None = None
    """File to write; None: meter-parameters.json in the run, or in runs/."""

    def __post_init__(self) -> None:
        _check(self, SMALL)
        if not self.items or min(self.items) < 1:
            raise ValueError(f"items must be numbers of at least 1, got {self.items}")


@dataclass(frozen=True)
class StateConfig:
    """How many bits a trained model recalls, for the bits of its state."""

    run: Path | None = None
    """Directory of the run, of a task with pairs; None: the newest below runs/."""
    effort: Effort = field(default_factory=Effort)
    """How much is asked, and how much memory that may take."""
    threads: int = 0
    """CPU threads of torch; 0: torch's own choice."""
    device: str = "auto"
    """auto (CUDA where there is one, else CPU), cpu, or cuda."""
    out: Path | None = None
    """File to write; None: meter-state.json in the run."""


MeterConfig = CapacityConfig | ParametersConfig | StateConfig


def _check(config: CapacityConfig | ParametersConfig, unset: ModelConfig) -> None:
    if config.run is not None and config.model != unset:
        raise ValueError(
            f"give run or model, not both, got {config.run} and layer={config.model.layer!r}"
        )
