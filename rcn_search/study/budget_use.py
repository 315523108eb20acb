"""What a study has used of its budget: hours, GPU hours and cost, over all search processes that have run it.

Every lease on the study holds the use of its process: its heartbeats say how long the resources of trials have been
reserved. So a process that was killed counts up to its last heartbeat, at most 10 s before its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydantic import Field, FiniteFloat

from rcn_search.config.schema import FrozenModel
from rcn_search.study.space.sections import Budget

_HOUR_S = 3600.0


class Use(FrozenModel):
    """Use of a study or a process: seconds of wall time, and seconds for which CPUs and GPUs were reserved for trials.

    Half a GPU for a minute is 30 s.
    """

    wall_s: FiniteFloat = Field(0, ge=0)
    cpu_s: FiniteFloat = Field(0, ge=0)
    gpu_s: FiniteFloat = Field(0, ge=0)

    def __add__(self, other: Use) -> Use:
        return Use(wall_s=self.wall_s + other.wall_s, cpu_s=self.cpu_s + other.cpu_s, gpu_s=self.gpu_s + other.gpu_s)

    def __mul__(self, factor: float) -> Use:
        return Use(wall_s=self.wall_s * factor, cpu_s=self.cpu_s * factor, gpu_s=self.gpu_s * factor)


class Limit(NamedTuple):
    """A limit of a budget, as in ``budget.max_hours``, and how much of it is used."""

    key: str
    used: float
    limit: float

    @property
    def is_reached(self) -> bool:
        """Whether nothing is left."""
        return self.used >= self.limit

    @property
    def suggestion(self) -> str:
        """Setting that doubles it, as for ``--set``."""
        return f"budget.{self.key}{'.limit' if self.key == 'max_cost' else ''}={2 * self.limit:g}"

    def __str__(self) -> str:
        """For example ``0.52 of 2 hours``."""
        return f"{self.used:.2f} of {self.limit:g} {_UNITS[self.key]}"


_UNITS = {"max_hours": "hours", "max_gpu_hours": "GPU hours", "max_cost": "cost"}


def limits(budget: Budget, use: Use) -> list[Limit]:
    """List the limits of a budget.

    >>> [str(limit) for limit in limits(Budget(epochs=1, max_hours=2), Use(wall_s=1800))]
    ['0.50 of 2 hours']
    """
    return list(_limits(budget, use))


def _limits(budget: Budget, use: Use) -> Iterator[Limit]:
    if budget.max_hours is not None:
        yield Limit("max_hours", use.wall_s / _HOUR_S, budget.max_hours)
    if budget.max_gpu_hours is not None:
        yield Limit("max_gpu_hours", use.gpu_s / _HOUR_S, budget.max_gpu_hours)
    if (price := budget.max_cost) is not None:
        cost = (use.gpu_s * price.per_gpu_hour + use.cpu_s * price.per_cpu_hour) / _HOUR_S
        yield Limit("max_cost", cost, price.limit)


def share_left(budget: Budget, used: Use, still_needed: Use) -> float:
    """Estimate the share of ``still_needed`` that the budget allows, by the limit that is reached first; at most 1."""
    needed = limits(budget, still_needed)
    shares = [
        max(0.0, now.limit - now.used) / more.used
        for now, more in zip(limits(budget, used), needed, strict=True)
        if more.used > 0
    ]
    return min([1.0, *shares])
