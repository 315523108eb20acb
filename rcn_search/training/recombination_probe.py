"""Choose the form of each recombination of an RCN by measuring forward and backward passes.

The forms of a recombination take turns. Which one is the fastest depends on the processor, the resolution and the
number of channels; all give the same maps (`Recombination`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor

from rcn_search.config.schema import TrainConfig
from rcn_search.models import build_model
from rcn_search.models.blocks import Recombination, RecombinationForm, recombinations, set_recombination_forms
from rcn_search.training.compute_settings import ComputeSettings

FORMS: tuple[RecombinationForm, ...] = get_args(RecombinationForm)
_NUM_ROUNDS = 3
_TIME_LIMIT_S = 0.6
"""No recombination is measured that would begin after this time; the coarser ones, which come last, matter least."""
_MARGIN = 0.95
"""Another form must take at most this share of the time of the usual one; closer times are noise."""
_MAX_CPU_BATCH = 8


def choose_forms(config: TrainConfig, num_points: int, settings: ComputeSettings) -> tuple[RecombinationForm, ...]:
    """Choose the form of each recombination, coarsest first; empty if all are the usual one."""
    network = build_model(
        config.model, num_points=num_points, input_px=config.input.size_px, in_channels=config.input.channels
    ).to_device(settings.device, settings.memory_format)
    modules = recombinations(network)
    if not modules:
        return ()
    shapes = _input_shapes(network, modules, config, settings)
    started, chosen = time.perf_counter(), dict[Recombination, RecombinationForm]()
    for module in reversed(modules):
        inputs = [_random(shape, settings) for shape in shapes[module]]
        if not module.has_forms(*inputs):
            continue
        if time.perf_counter() - started > _TIME_LIMIT_S:
            break
        chosen[module] = _fastest_form(module, inputs, settings)
    forms = tuple(chosen.get(module, FORMS[0]) for module in modules)
    return forms if any(form != FORMS[0] for form in forms) else ()


def _input_shapes(
    network: torch.nn.Module, modules: list[Recombination], config: TrainConfig, settings: ComputeSettings
) -> dict[Recombination, tuple[torch.Size, torch.Size]]:
    """Find the shapes of both maps of each recombination at the batch that is measured."""
    shapes: dict[Recombination, tuple[torch.Size, torch.Size]] = {}

    def note(module: Recombination, inputs: tuple[Tensor, Tensor]) -> None:
        shapes[module] = inputs[0].shape, inputs[1].shape

    hooks = [module.register_forward_pre_hook(note) for module in modules]
    is_cpu, size_px = torch.device(settings.device).type == "cpu", config.input.size_px
    batch = min(config.schedule.batch_size, _MAX_CPU_BATCH) if is_cpu else config.schedule.batch_size
    with torch.no_grad():
        network(torch.zeros(batch, config.input.channels, size_px, size_px, device=settings.device))
    for hook in hooks:
        hook.remove()
    return shapes


def _random(shape: torch.Size, settings: ComputeSettings) -> Tensor:
    """Create maps as the layers before would give them, in their precision and layout."""
    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    maps = torch.rand(shape, device=settings.device).to(dtype)
    return maps.contiguous(memory_format=settings.memory_format).requires_grad_()


def _fastest_form(module: Recombination, inputs: list[Tensor], settings: ComputeSettings) -> RecombinationForm:
    pass_s = _timer(module, inputs, settings)
    for form in FORMS:
        pass_s(form)  # what is initialized only once counts for nobody
    best_s = dict.fromkeys(FORMS, float("inf"))
    for _ in range(_NUM_ROUNDS):
        for form in FORMS:
            best_s[form] = min(best_s[form], pass_s(form))
    fastest = min(FORMS, key=lambda form: best_s[form])
    return fastest if best_s[fastest] <= _MARGIN * best_s[FORMS[0]] else FORMS[0]


def _timer(
    module: Recombination, inputs: list[Tensor], settings: ComputeSettings
) -> Callable[[RecombinationForm], float]:
    """Make a function that measures a forward and a backward pass in one form, in seconds."""

    def wait() -> None:
        if settings.device.startswith("cuda"):
            torch.cuda.synchronize(settings.device)

    def pass_s(form: RecombinationForm) -> float:
        module.form = form
        wait()
        started = time.perf_counter()
        with settings.autocast():
            maps = module(*inputs)
        torch.autograd.grad(maps, [*inputs, *module.parameters()], torch.ones_like(maps))
        wait()
        return time.perf_counter() - started

    return pass_s


class FormsInTurn:
    """Compares the forms of a run with the usual ones in its first steps, which they take in turns.

    A probe measures layers alone, on small batches; this is what the run itself says. Training steps are as good in
    either form, for all give the same maps.
    """

    NUM_STEPS = 8  # two of which are not counted

    def __init__(self, network: torch.nn.Module, forms: tuple[RecombinationForm, ...]) -> None:
        self._network, self._candidates = network, (forms, ())
        self._times_s: tuple[list[float], list[float]] = ([], [])

    @property
    def is_done(self) -> bool:
        """Whether all steps of the comparison were taken."""
        return sum(map(len, self._times_s)) == self.NUM_STEPS

    def begin_step(self) -> None:
        """Set the forms whose turn it is."""
        set_recombination_forms(self._network, self._candidates[self._turn])

    def end_step(self, step_s: float) -> None:
        """Record how long the step took."""
        self._times_s[self._turn].append(step_s)

    @property
    def _turn(self) -> int:
        return sum(map(len, self._times_s)) % 2

    def keep_fastest(self) -> tuple[RecombinationForm, ...]:
        """Set the forms whose steps were faster, by their fastest one after the first; return them."""
        chosen, usual = (min(times_s[1:]) for times_s in self._times_s)
        kept = self._candidates[0 if chosen < usual else 1]
        set_recombination_forms(self._network, kept)
        return kept
