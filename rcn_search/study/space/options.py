"""Options of the samplers and schedulers that a study file names."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from rcn_search.config.schema import FrozenModel


class Tpe(FrozenModel):
    """Tree-structured Parzen estimator: multivariate, conditional parameters included."""

    name: Literal["tpe"] = "tpe"
    num_startup_trials: int = Field(10, ge=0, description="Random trials before the estimator is used.")


class Random(FrozenModel):
    """Independent random sampling."""

    name: Literal["random"] = "random"


class Qmc(FrozenModel):
    """Scrambled Sobol sequence: covers the space more evenly than random sampling."""

    name: Literal["qmc"] = "qmc"


class Cmaes(FrozenModel):
    """Covariance matrix adaptation over the ranges without 'when'; other parameters are sampled at random."""

    name: Literal["cmaes"] = "cmaes"
    population_size: int | None = Field(
        None, ge=4, description="Trials of a generation; by default 4 + 3 ln(number of ranges)."
    )
    sigma: float = Field(0.25, gt=0, le=1, description="Initial standard deviation, as a share of each range.")


class Gp(FrozenModel):
    """Gaussian process with expected improvement over parameters without 'when'; others are sampled at random."""

    name: Literal["gp"] = "gp"
    num_startup_trials: int = Field(10, ge=1, description="Random trials before the process is fitted.")


class Nsga2(FrozenModel):
    """Genetic algorithm with non-dominated sorting, for several objectives."""

    name: Literal["nsga2"] = "nsga2"
    population_size: int = Field(20, ge=2, description="Trials of a generation, and parents of the next one.")


class Grid(FrozenModel):
    """Every combination of values once, in an order shuffled by the study's seed."""

    name: Literal["grid"] = "grid"


class OptunaTarget(FrozenModel):
    """Any sampler with Optuna's interface: a class that is imported by its name, when the study is run."""

    name: Literal["optuna"] = "optuna"
    target: str = Field(
        max_length=200,
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="Class of the sampler, as package.module:Class, in an installed package or on PYTHONPATH.",
    )
    options: dict[str, JsonValue] = Field({}, description="Keyword arguments of the class; the seed is the study's.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "seed" in self.options:
            raise ValueError("options.seed: each proposal gets a seed of its own, by study.seed")
        return self


class Asha(FrozenModel):
    """Asynchronous successive halving (Li et al. 2020, https://arxiv.org/abs/1810.05934)."""

    name: Literal["asha"] = "asha"
    grace_epochs: int = Field(1, ge=1, description="The first rung: no trial is stopped before this epoch.")
    reduction_factor: float = Field(3, gt=1, description="The best 1 / reduction_factor of a rung continue.")
    comparison_window: int | None = Field(
        18, ge=2, description="Number of most recent trials to compare with at a rung; null: all, as in Ray Tune."
    )

    def __str__(self) -> str:
        return f"ASHA from epoch {self.grace_epochs}, 1 in {self.reduction_factor:g} continues"


class Hyperband(FrozenModel):
    """Asynchronous Hyperband: successive halving with several first rungs, for learning curves that cross late.

    Li et al. 2018 (https://arxiv.org/abs/1603.06560), asynchronous as in Li et al. 2020, section 4.
    """

    name: Literal["hyperband"] = "hyperband"
    grace_epochs: int = Field(1, ge=1, description="The first rung of the most aggressive bracket.")
    reduction_factor: float = Field(3, gt=1, description="The best 1 / reduction_factor of a rung continue.")
    brackets: int = Field(3, ge=1, le=8, description="Number of brackets; each starts one rung later.")

    def __str__(self) -> str:
        return (
            f"Hyperband with {self.brackets} brackets from epoch {self.grace_epochs}, "
            f"1 in {self.reduction_factor:g} continues"
        )


class Median(FrozenModel):
    """Stops a trial whose best error is worse than the median of the others' mean so far (Golovin et al. 2017)."""

    name: Literal["median"] = "median"
    grace_epochs: int = Field(1, ge=1, description="No trial is stopped before this epoch.")
    min_trials: int = Field(5, ge=2, description="Number of other trials that must have reached the epoch.")

    def __str__(self) -> str:
        return f"median stopping from epoch {self.grace_epochs}, against {self.min_trials} or more trials"


class Pbt(FrozenModel):
    """Population-based training of augmentation and learning rate (Jaderberg et al. 2017).

    Every ``perturbation_interval_epochs`` the worst ``quantile_fraction`` of the trials stop. Each is followed by a new
    trial that starts from the checkpoint of one of the best, with other augmentation and another learning rate (see
    `rcn_search.study.samplers.pbt`).
    """

    name: Literal["pbt"] = "pbt"
    population_size: int = Field(8, ge=2, description="Trials from the study's sampler; later ones follow a parent.")
    perturbation_interval_epochs: int = Field(3, ge=1, description="Epochs between two comparisons.")
    quantile_fraction: float = Field(
        0.25, gt=0, le=0.5, description="Share of the trials that is stopped, and share that may be a parent."
    )

    @property
    def grace_epochs(self) -> int:
        """First epoch at which a trial may be stopped."""
        return self.perturbation_interval_epochs

    def __str__(self) -> str:
        return (
            f"population of {self.population_size}, the worst replaced every {self.perturbation_interval_epochs} epochs"
        )


class NoScheduler(FrozenModel):
    """Every trial runs to its last epoch."""

    name: Literal["none"] = "none"

    def __str__(self) -> str:
        return "no early stopping"


Sampler = Annotated[Tpe | Random | Qmc | Cmaes | Gp | Nsga2 | Grid | OptunaTarget, Field(discriminator="name")]
Scheduler = Annotated[Asha | Hyperband | Median | Pbt | NoScheduler, Field(discriminator="name")]
