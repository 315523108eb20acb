"""One parameter of a search space: a range or a list of values, and the conditions under which it is sampled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Annotated

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BeforeValidator, Field, FiniteFloat, model_validator

from rcn_search.config.schema import FrozenModel

Scalar = bool | int | float | str | None
Key = Annotated[str, Field(max_length=200)]
"""Dotted path into `TrainConfig`."""
Values = dict[Key, Scalar]
"""Values by dotted path into `TrainConfig`, as in ``{"optimizer.lr": 1e-3}``."""

MAX_STEPS = 10**7
"""Largest number of steps of a range. Beyond it, float64 cannot tell whether a value lies on a step."""

_OneOrMore = Annotated[tuple[Scalar, ...], BeforeValidator(lambda value: value if isinstance(value, list) else [value])]


_Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]
"""A whole number that float64 holds exactly, as samplers compute with it."""


class DependentBound(FrozenModel):
    """A bound of a range that depends on another key: ``scale`` × its value + ``offset``."""

    key: Key = Field(min_length=1, description="A key that is searched further up, or that base sets.")
    scale: FiniteFloat = Field(1, description="Factor of the key's value.")
    offset: FiniteFloat = Field(0, description="Number to add.")

    def __str__(self) -> str:
        scale = "" if self.scale == 1 else f"{self.scale:g} × "
        offset = f" {'+' if self.offset > 0 else '-'} {abs(self.offset):g}" if self.offset else ""
        return f"{scale}{self.key}{offset}"


class Parameter(FrozenModel):
    """A range or a list of values, sampled where its conditions hold: one of ``int``, ``float`` and ``choice``.

    >>> str(Parameter.model_validate({"float": [1e-4, 1e-2], "log": True}))
    '0.0001 to 0.01, log'
    """

    integer: tuple[_Whole | DependentBound, _Whole | DependentBound] | None = Field(
        None, alias="int", description="Lowest and highest whole number, both included."
    )
    real: tuple[FiniteFloat | DependentBound, FiniteFloat | DependentBound] | None = Field(
        None, alias="float", description="Lowest and highest real number, both included."
    )
    choice: tuple[Scalar, ...] | None = Field(None, min_length=1, description="Values to choose from.")
    log: bool = Field(False, description="Sample uniformly in the logarithm.")
    step: FiniteFloat | None = Field(None, gt=0, description="Sample only the lowest value plus multiples of this.")
    when: dict[Key, _OneOrMore] = Field(
        {}, description="Keys and the values that they must have; elsewhere this parameter is not sampled."
    )

    @model_validator(mode="after")
    def _check(self) -> Parameter:
        if sum(kind is not None for kind in (self.integer, self.real, self.choice)) != 1:
            raise ValueError("give exactly one of int, float and choice")
        if self.choice is not None and (self.log or self.step is not None):
            raise ValueError("log and step are options of int and float, not of choice")
        if self.integer is not None and self.step is not None and self.step != int(self.step):
            raise ValueError("the step of an int must be a whole number")
        if self.depends_on:
            if self.log and self.step is not None:
                raise ValueError("log and step exclude each other: give one of the two")
            return self  # its values are checked where the bounds are resolved
        low, high = self._bounds
        self._check_steps(low, high)
        if self.step is not None and not self.contains(high):
            raise ValueError(f"{high} is not {low} plus a multiple of {self.step}")
        _ = self.distribution  # Optuna rejects crossed bounds, log from 0, and log with step
        return self

    def _check_steps(self, low: float, high: float) -> None:
        if self.step is not None and high - low > MAX_STEPS * self.step:
            raise ValueError(f"more than {MAX_STEPS:,} steps of {self.step:g} lie between {low:g} and {high:g}")

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Keys that its bounds depend on."""
        return tuple(bound.key for bound in self.integer or self.real or () if isinstance(bound, DependentBound))

    def resolve(self, number_at: Callable[[str], float]) -> Parameter:
        """Replace bounds that depend on other keys by numbers; ``number_at`` gives the value of a key.

        Bounds of an int are rounded inwards; the upper bound of a range with steps is lowered to its last step.

        Raises:
            ValueError: The range is empty, or a bound is not a finite number.
        """
        if not self.depends_on:
            return self
        bounds = self.integer or self.real
        assert bounds is not None
        low, high = (
            bound.scale * number_at(bound.key) + bound.offset if isinstance(bound, DependentBound) else float(bound)
            for bound in bounds
        )
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"its bounds are {low:g} and {high:g}, which is no range of numbers")
        if self.integer:
            low, high = math.ceil(low - 1e-9), math.floor(high + 1e-9)
        if self.log and low <= 0:
            raise ValueError(f"the lower bound of a log range must be above 0, not {low:g}")
        if low > high:
            raise ValueError(f"the range from {low:g} to {high:g} is empty")
        self._check_steps(low, high)
        if self.step is not None:
            num_steps = math.floor((high - low) / self.step + 1e-9)
            high = float(Decimal(str(low)) + num_steps * Decimal(str(self.step)))  # 0.15, not 0.15000000000000002
        bounds_by_kind = {"int": (int(low), int(high))} if self.integer else {"float": (low, high)}
        return Parameter.model_validate({**bounds_by_kind, "log": self.log, "step": self.step})

    @property
    def distribution(self) -> BaseDistribution:
        """Optuna's distribution of a parameter without dependent bounds."""
        if self.choice is not None:
            return CategoricalDistribution(self.choice)
        low, high = self._bounds
        if self.integer is not None:
            return IntDistribution(int(low), int(high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(low, high, log=self.log, step=self.step)

    @property
    def is_always_sampled(self) -> bool:
        """Whether it is sampled in every setting, from the same two or more values."""
        return not self.when and not self.depends_on and not self.distribution.single()

    @property
    def _bounds(self) -> tuple[float, float]:
        low, high = self.integer or self.real or (0, 0)
        assert not isinstance(low, DependentBound)
        assert not isinstance(high, DependentBound)
        return low, high

    @property
    def extremes(self) -> tuple[Scalar, ...]:
        """Both bounds of a range, or all values of a choice: if these are legal, so is every value between them."""
        return self.choice if self.choice is not None else self._bounds

    def contains(self, value: Scalar) -> bool:
        """Whether ``value`` can be sampled."""
        if self.choice is not None:
            return any(type(value) is type(choice) and value == choice for choice in self.choice)
        low, high = self._bounds
        if isinstance(value, bool) or not isinstance(value, int if self.integer else int | float):
            return False
        if not low <= value <= high:
            return False
        steps = (value - low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-8

    def __str__(self) -> str:
        """Describe the values in a message."""
        if self.choice is not None:
            return "one of " + ", ".join(map(str, self.choice))
        low, high = self.extremes
        return f"{low} to {high}" + (f" in steps of {self.step:g}" if self.step else ", log" if self.log else "")


def is_one_of(value: Scalar, allowed: Iterable[Scalar]) -> bool:
    """Whether a value is among others; ``true`` is not 1."""
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in allowed)


ConditionalRanges = Annotated[
    tuple[Parameter, ...], BeforeValidator(lambda value: value if isinstance(value, list) and value else [value])
]
"""Ranges of one key; the first whose conditions hold is sampled."""


def parameter_name(path: str, index: int, num_ranges: int) -> str:
    """Name the range number ``index`` of a key: the key itself, or ``model.channels[1]`` if it has several ranges."""
    return path if num_ranges == 1 else f"{path}[{index}]"
