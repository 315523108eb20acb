"""Samplers and schedulers as a study file names them: their options, with defaults that need no thought."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rcn_search.config.schema import FrozenModel


class Tpe(FrozenModel):
    """Tree-structured Parzen estimator, multivariate, aware of running trials."""

    name: Literal["tpe"] = "tpe"
    num_startup_trials: int = Field(10, ge=0, description="Random trials before the estimator is trusted.")


class Random(FrozenModel):
    """Independent random draws."""

    name: Literal["random"] = "random"


class Qmc(FrozenModel):
    """A scrambled Sobol sequence: random draws that leave no holes."""

    name: Literal["qmc"] = "qmc"


class Cmaes(FrozenModel):
    """Covariance matrix adaptation over the ranges that are always drawn; all else is drawn at random."""

    name: Literal["cmaes"] = "cmaes"
    population_size: int | None = Field(None, ge=4, description="Trials of a generation; none: 4 + 3 ln(ranges).")
    sigma: float = Field(0.25, gt=0, le=1, description="First spread, as a share of each range.")


class Gp(FrozenModel):
    """Gaussian process with expected improvement over what is always drawn; all else is drawn at random."""

    name: Literal["gp"] = "gp"
    num_startup_trials: int = Field(10, ge=1, description="Random trials before the process is fitted.")


class Nsga2(FrozenModel):
    """Genetic algorithm with non-dominated sorting, for several objectives."""

    name: Literal["nsga2"] = "nsga2"
    population_size: int = Field(20, ge=2, description="Trials of a generation, and parents of the next.")


class Grid(FrozenModel):
    """Every setting once, in an order shuffled by the study's seed."""

    name: Literal["grid"] = "grid"


class Asha(FrozenModel):
    """Asynchronous successive halving (Li et al. 2020, https://arxiv.org/abs/1810.05934)."""

    name: Literal["asha"] = "asha"
    grace_epochs: int = Field(1, ge=1, description="The first rung: no trial is stopped before.")
    reduction_factor: float = Field(3, gt=1, description="The best 1 / reduction of a rung go on to the next.")
    comparison_window: int | None = Field(
        18, ge=2, description="Of the last so many trials there; null: of all, as in Ray."
    )

    def __str__(self) -> str:
        return f"ASHA from epoch {self.grace_epochs}, 1 in {self.reduction_factor:g} goes on"


class Hyperband(FrozenModel):
    """Asynchronous Hyperband: successive halving from several first rungs, for curves that cross late.

    Li et al. 2018 (https://arxiv.org/abs/1603.06560), asynchronous as in Li et al. 2020, section 4.
    """

    name: Literal["hyperband"] = "hyperband"
    grace_epochs: int = Field(1, ge=1, description="The first rung of the strictest bracket.")
    reduction_factor: float = Field(3, gt=1, description="The best 1 / reduction of a rung go on to the next.")
    brackets: int = Field(3, ge=1, le=8, description="Each starts a rung later than the one before.")

    def __str__(self) -> str:
        return f"Hyperband of {self.brackets} brackets from epoch {self.grace_epochs}, 1 in {self.reduction_factor:g} goes on"


class Median(FrozenModel):
    """Stops a trial whose best error is worse than the median of the others' mean so far (Golovin et al. 2017)."""

    name: Literal["median"] = "median"
    grace_epochs: int = Field(1, ge=1, description="No trial is stopped before this epoch is over.")
    min_trials: int = Field(5, ge=2, description="Others that must have come as far.")

    def __str__(self) -> str:
        return f"stopped from epoch {self.grace_epochs} on when worse than the median of {self.min_trials} or more"


class Pbt(FrozenModel):
    """Population-based training of augmentation and learning rate (Jaderberg et al. 2017).

    At every ``interval_epochs`` the worst ``quantile`` of trials stop. Each is followed by a new trial that starts from
    the checkpoint of one among the best, with other augmentation and another learning rate (`search.population`).
    """

    name: Literal["pbt"] = "pbt"
    population_size: int = Field(8, ge=2, description="Trials drawn by the sampler; all others follow one of the best.")
    perturbation_interval_epochs: int = Field(3, ge=1, description="Epochs between two comparisons.")
    quantile_fraction: float = Field(
        0.25, gt=0, le=0.5, description="Share that is stopped, and share that is followed."
    )

    @property
    def grace_epochs(self) -> int:
        """No trial is stopped before."""
        return self.perturbation_interval_epochs

    def __str__(self) -> str:
        return f"population of {self.population_size}, of which every {self.perturbation_interval_epochs} epochs the worst start again"


class NoScheduler(FrozenModel):
    """Every trial runs to its last epoch."""

    name: Literal["none"] = "none"

    def __str__(self) -> str:
        return "no early stopping"


Sampler = Annotated[Tpe | Random | Qmc | Cmaes | Gp | Nsga2 | Grid, Field(discriminator="name")]
Scheduler = Annotated[Asha | Hyperband | Median | Pbt | NoScheduler, Field(discriminator="name")]
