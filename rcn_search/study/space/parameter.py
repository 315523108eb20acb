"""One range or list of values in a study file, and the value it may draw."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BeforeValidator, Field, FiniteFloat, model_validator

from rcn_search.config.schema import FrozenModel

Scalar = bool | int | float | str | None
Values = dict[str, Scalar]
"""Drawn values by dotted path into `TrainConfig`."""

MAX_STEPS = 10**7
"""Of a range. Beyond, float64 cannot tell whether a value lies on a step."""

OneOf = Annotated[tuple[Scalar, ...], BeforeValidator(lambda value: value if isinstance(value, list) else [value])]


class DependentBound(FrozenModel):
    """An end of a range that depends on another key: ``times`` its value ``plus`` something."""

    key: str = Field(min_length=1, description="A key searched further up, or of base.")
    scale: FiniteFloat = Field(1, description="Its factor.")
    offset: FiniteFloat = Field(0, description="What is added.")

    def __str__(self) -> str:
        times = "" if self.scale == 1 else f"{self.scale:g} × "
        return f"{times}{self.key}" + (
            f" {'+' if self.offset > 0 else '-'} {abs(self.offset):g}" if self.offset else ""
        )


class Parameter(FrozenModel):
    """One range or list of values, drawn where ``when`` holds."""

    integer: tuple[int | DependentBound, int | DependentBound] | None = Field(
        None, alias="int", description="Lowest and highest value, both included."
    )
    real: tuple[FiniteFloat | DependentBound, FiniteFloat | DependentBound] | None = Field(
        None, alias="float", description="The same, of real numbers."
    )
    choice: tuple[Scalar, ...] | None = Field(None, min_length=1, description="One of these.")
    log: bool = Field(False, description="Draw evenly in the logarithm.")
    step: FiniteFloat | None = Field(None, gt=0, description="Only lowest + multiples of this.")
    when: dict[str, OneOf] = Field({}, description="Keys and the values they must have; else this is not drawn.")

    @model_validator(mode="after")
    def _legal(self) -> Parameter:
        if sum(kind is not None for kind in (self.integer, self.real, self.choice)) != 1:
            raise ValueError("give exactly one of int, float and choice")
        if self.choice is not None and (self.log or self.step is not None):
            raise ValueError("log and step are for int and float")
        if self.integer is not None and self.step is not None and self.step != int(self.step):
            raise ValueError("the step of an int is whole")
        if self.depends_on:
            if self.log and self.step is not None:
                raise ValueError("log and step together: give one of the two")
            return self  # what it comes to is checked where it is drawn
        low, high = self._range
        self._check_steps(low, high)
        if self.step is not None and not self.contains(high):
            raise ValueError(f"{high} is not {low} plus a multiple of {self.step}")
        _ = self.distribution  # Optuna refuses crossed bounds, log from 0, log with step
        return self

    def _check_steps(self, low: float, high: float) -> None:
        if self.step is not None and high - low > MAX_STEPS * self.step:
            raise ValueError(f"more than {MAX_STEPS:,} steps of {self.step:g} lie between {low:g} and {high:g}")

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Keys that its ends depend on."""
        return tuple(end.key for end in self.integer or self.real or () if isinstance(end, DependentBound))

    def resolve(self, number_at: Callable[[str], float]) -> Parameter:
        """Its range with the ends worked out: of an int inwards to whole numbers, of steps down to the last of them.

        Raises:
            ValueError: Nothing is left between them.
        """
        if not self.depends_on:
            return self
        ends = self.integer or self.real
        assert ends is not None
        low, high = (
            end.scale * number_at(end.key) + end.offset if isinstance(end, DependentBound) else float(end) for end in ends
        )
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"its ends are {low:g} and {high:g}, no numbers to draw between")
        if self.integer:
            low, high = math.ceil(low - 1e-9), math.floor(high + 1e-9)
        if self.log and low <= 0:
            raise ValueError(f"log needs more than 0, not {low:g}")
        if low > high:
            raise ValueError(f"nothing lies between {low:g} and {high:g}")
        self._check_steps(low, high)
        if self.step is not None:
            num_steps = math.floor((high - low) / self.step + 1e-9)
            high = float(Decimal(str(low)) + num_steps * Decimal(str(self.step)))  # 0.15, not 0.15000000000000002
        kind = ("int", (int(low), int(high))) if self.integer else ("float", (low, high))
        return Parameter.model_validate({kind[0]: kind[1], "log": self.log, "step": self.step})

    @property
    def distribution(self) -> BaseDistribution:
        """As Optuna has it; of a parameter that is `resolved`."""
        if self.choice is not None:
            return CategoricalDistribution(self.choice)
        low, high = self._range
        if self.integer is not None:
            return IntDistribution(int(low), int(high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(low, high, log=self.log, step=self.step)

    @property
    def _range(self) -> tuple[float, float]:
        low, high = self.integer or self.real or (0, 0)
        assert not isinstance(low, DependentBound)
        assert not isinstance(high, DependentBound)
        return low, high

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """Both ends of a range, all values of a list: legal wherever every value is."""
        return self.choice if self.choice is not None else self._range

    def contains(self, value: Scalar) -> bool:
        """Whether ``value`` can be drawn."""
        if self.choice is not None:
            return any(type(value) is type(each) and value == each for each in self.choice)
        low, high = self._range
        if isinstance(value, bool) or not isinstance(value, int if self.integer else int | float):
            return False
        if not low <= value <= high:
            return False
        steps = (value - low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-8

    def __str__(self) -> str:
        """For messages: what can be drawn."""
        if self.choice is not None:
            return "one of " + ", ".join(map(str, self.choice))
        low, high = self.ends
        return f"{low} to {high}" + (f" in steps of {self.step:g}" if self.step else ", log" if self.log else "")


ConditionalRanges = Annotated[
    tuple[Parameter, ...], BeforeValidator(lambda value: value if isinstance(value, list) and value else [value])
]


def parameter_name(path: str, index: int, num_alternatives: int) -> str:
    """The name of a path's parameter number ``index``."""
    return path if num_alternatives == 1 else f"{path}[{index}]"
