"""Convolution with a large kernel in the frequency domain: exact, and much faster than the direct form.

A kernel of k pixels reaches at most p = k // 2 pixels, so with a period of h + p nothing wraps around onto the map, and
a product of spectra is a convolution with zero padding. Half of the row frequencies are sufficient, because maps are
real.

The transforms are matrix products instead of FFTs: sides are short, two thirds of the values of an FFT would be
padding, and the spectra have their channels last, as the product over channels needs them. This halves the time of a
step (docs/explanation/denoiser.md). With M the transform of maps, N that of kernels and * the complex product:

    y = M'(Mx * Nw)        dx = M'(Mdy * conj Nw)        dw = N'(Mdy * conj Mx)

where M' and N' are the transposed matrices. N includes the weights of the inverse transform.

Everything is computed in the precision of the kernel, even under autocast.

Shape letters: h rows or columns of a map, k of a kernel; b images; i and o channels in and out; u = (h + p) // 2 + 1
frequencies of rows, v = h + p of columns; 2 real and imaginary part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Transform(NamedTuple):
    """Two-dimensional discrete Fourier transform as two real matrices."""

    rows: Tensor  # transform (2u, rows) of a real signal
    columns: Tensor  # transform (2v, 2 columns) of a complex signal, real parts before imaginary parts


class Basis(NamedTuple):
    """Transforms for maps of one size and kernels of one size."""

    maps: Transform
    kernels: Transform


@lru_cache(maxsize=16)
def _basis(size_px: int, kernel_px: int, dtype: torch.dtype, device: torch.device) -> Basis:
    reach = kernel_px // 2
    period = size_px + reach
    num_rows = period // 2 + 1

    def transform(positions: Tensor, weight_u: Tensor) -> Transform:
        # Whole turns are removed in integers, because the cosine of a large angle would be less exact.
        turns = torch.outer(torch.arange(period), positions).remainder(period).double() / period
        cosine, sine = (2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()
        rows = torch.stack([cosine[:num_rows], sine[:num_rows]], 1) * weight_u[:, None, None]
        columns = torch.stack([torch.cat([cosine, -sine], 1), torch.cat([sine, cosine], 1)], 1)
        return Transform(*(matrix.flatten(0, 1).to(device, dtype) for matrix in (rows, columns)))

    with torch.inference_mode(False):  # the cached result must be usable in training
        frequency = torch.arange(num_rows)
        is_unpaired = (frequency == 0) | (2 * frequency == period)  # the others represent their negative, too
        weight_u = torch.where(is_unpaired, 1.0, 2.0).double() / period**2
        return Basis(
            maps=transform(-torch.arange(size_px), torch.ones(num_rows).double()),
            # The opposite sign, because convolution layers do not flip their kernels.
            kernels=transform(torch.arange(kernel_px) - reach, weight_u),
        )


def convolve(map_hhbi: Tensor, weight_oikk: Tensor) -> Tensor:
    """Convolve maps like `F.conv2d` without bias, by odd kernels, zero-padded to keep their side: (h, h, b, o)."""
    with torch.autocast(map_hhbi.device.type, enabled=False):
        inputs = map_hhbi.to(weight_oikk.dtype), weight_oikk
        return _Convolve.apply(*inputs)  # type: ignore[no-untyped-call, no-any-return]


def convolve_one_hot(cells_bi2: Tensor, weight_oikk: Tensor, size_px: int) -> Tensor:
    """Convolve maps that are 1 in one cell (column, row; negative for an empty map) and 0 elsewhere: (h, h, b, o).

    These maps are never created. On the CPU the result is the sum of the kernels of a face, each shifted to its cell
    and cut off at the border, which takes two fifths of the time. On a GPU that would be thousands of small operations;
    there the spectrum of a map is computed directly, as a phase for each frequency.
    """
    form = ShiftedKernels if cells_bi2.device.type == "cpu" else Phases
    with torch.autocast(cells_bi2.device.type, enabled=False):
        return form.apply(cells_bi2, weight_oikk, size_px)  # type: ignore[no-untyped-call, no-any-return]


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, map_hhbi: Tensor, weight_oikk: Tensor) -> Tensor:
        maps, kernels = _basis(len(map_hhbi), weight_oikk.shape[-1], weight_oikk.dtype, weight_oikk.device)
        map_spectrum = _analyze(map_hhbi, maps)
        kernel_spectrum = _analyze(_positions_first(weight_oikk), kernels)
        ctx.save_for_backward(map_spectrum, kernel_spectrum)
        ctx.kernel_px = weight_oikk.shape[-1]
        return _synthesize(_forward_product(map_spectrum, kernel_spectrum), maps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hhbo: Tensor) -> tuple[Tensor | None, Tensor | None]:
        map_spectrum, kernel_spectrum = ctx.saved_tensors
        grad_map = grad_weight = None
        maps, kernels = _basis(len(grad_hhbo), ctx.kernel_px, grad_hhbo.dtype, grad_hhbo.device)
        grad_spectrum = _analyze(grad_hhbo, maps)
        if ctx.needs_input_grad[0]:
            grad_map = _synthesize(_map_gradient(grad_spectrum, kernel_spectrum), maps)
        if ctx.needs_input_grad[1]:
            grad_weight = _positions_last(_synthesize(_kernel_gradient(grad_spectrum, map_spectrum), kernels))
        return grad_map, grad_weight


class Phases(torch.autograd.Function):
    """`convolve_one_hot` in the frequency domain."""

    @staticmethod
    def forward(ctx: Any, cells_bi2: Tensor, weight_oikk: Tensor, size_px: int) -> Tensor:  # noqa: D102
        maps, kernels = _basis(size_px, weight_oikk.shape[-1], weight_oikk.dtype, weight_oikk.device)
        ctx.save_for_backward(cells_bi2)
        ctx.kernel_px = weight_oikk.shape[-1]
        kernel_spectrum = _analyze(_positions_first(weight_oikk), kernels)
        return _synthesize(_forward_product(_phases(cells_bi2, maps), kernel_spectrum), maps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hhbo: Tensor) -> tuple[None, Tensor, None]:  # noqa: D102
        (cells_bi2,) = ctx.saved_tensors
        maps, kernels = _basis(len(grad_hhbo), ctx.kernel_px, grad_hhbo.dtype, grad_hhbo.device)
        product = _kernel_gradient(_analyze(grad_hhbo, maps), _phases(cells_bi2, maps))
        return None, _positions_last(_synthesize(product, kernels)), None


class ShiftedKernels(torch.autograd.Function):
    """`convolve_one_hot` as a sum of shifted kernels; its arrays have faces first, then rows and columns."""

    @staticmethod
    def forward(ctx: Any, cells_bi2: Tensor, weight_oikk: Tensor, size_px: int) -> Tensor:  # noqa: D102
        num_outputs, num_inputs, kernel_px, _ = weight_oikk.shape
        ctx.save_for_backward(cells_bi2)
        ctx.kernel_px = kernel_px
        # Flipped, because convolution layers do not flip their kernels.
        table = weight_oikk.flatten(1).t().contiguous().view(num_inputs, kernel_px, kernel_px, -1).flip(1, 2)
        map_bhho = weight_oikk.new_zeros(len(cells_bi2), size_px, size_px, num_outputs)
        for on_map, in_kernel in _overlaps(cells_bi2, size_px, kernel_px):
            map_bhho[on_map].add_(table[in_kernel])
        return map_bhho.permute(1, 2, 0, 3).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hhbo: Tensor) -> tuple[None, Tensor, None]:  # noqa: D102
        (cells_bi2,) = ctx.saved_tensors
        kernel_px, num_inputs, num_outputs = ctx.kernel_px, cells_bi2.shape[1], grad_hhbo.shape[-1]
        grad_bhho = grad_hhbo.permute(2, 0, 1, 3).contiguous()
        table = grad_bhho.new_zeros(num_inputs, kernel_px, kernel_px, num_outputs)
        for on_map, in_kernel in _overlaps(cells_bi2, len(grad_hhbo), kernel_px):
            table[in_kernel].add_(grad_bhho[on_map])
        weight_io = table.flip(1, 2).view(-1, num_outputs)
        return None, weight_io.t().contiguous().view(num_outputs, num_inputs, kernel_px, kernel_px), None


_Slices = tuple[int, slice, slice]


def _overlaps(cells_bi2: Tensor, size_px: int, kernel_px: int) -> Iterator[tuple[_Slices, _Slices]]:
    """Yield for each point the region of its face's map that its shifted kernel covers, and that part of the kernel."""
    reach = kernel_px // 2
    for face, cells in enumerate(cells_bi2.tolist()):
        for point, (column, row) in enumerate(cells):
            if min(column, row) >= 0:
                left, right = max(0, column - reach), min(size_px, column + reach + 1)
                top, bottom = max(0, row - reach), min(size_px, row + reach + 1)
                x, y = column - reach, row - reach
                yield (
                    (face, slice(top, bottom), slice(left, right)),
                    (point, slice(top - y, bottom - y), slice(left - x, right - x)),
                )


def _positions_first(weight_oikk: Tensor) -> Tensor:
    """Rearrange kernels to (k, k, o, i) by a matrix transpose, three times as fast as a permutation."""
    return weight_oikk.flatten(2).flatten(0, 1).t().contiguous().view(*weight_oikk.shape[2:], *weight_oikk.shape[:2])


def _positions_last(weight_kkoi: Tensor) -> Tensor:
    """Rearrange kernels to (o, i, k, k): the inverse of `_positions_first`."""
    return weight_kkoi.flatten(2).flatten(0, 1).t().contiguous().view(*weight_kkoi.shape[2:], *weight_kkoi.shape[:2])


def _analyze(signal_hhmn: Tensor, transform: Transform) -> Tensor:
    """Compute the spectra (u * v, 2, m, n) of signals whose rows and columns come first."""
    height, width, *channels = signal_hhmn.shape
    num_rows, num_columns = len(transform.rows) // 2, len(transform.columns) // 2
    half = torch.mm(transform.rows, signal_hhmn.reshape(height, -1))
    spectrum = torch.bmm(transform.columns.expand(num_rows, -1, -1), half.view(num_rows, 2 * width, -1))
    return spectrum.view(num_rows * num_columns, 2, *channels)


def _synthesize(spectrum_f2mn: Tensor, transform: Transform) -> Tensor:
    """Apply the transpose of `_analyze`: signals (h, h, m, n)."""
    channels = spectrum_f2mn.shape[2:]
    num_rows, (doubled, doubled_width) = len(transform.rows) // 2, transform.columns.shape
    half = torch.bmm(transform.columns.t().expand(num_rows, -1, -1), spectrum_f2mn.view(num_rows, doubled, -1))
    signal = torch.mm(transform.rows.t(), half.view(2 * num_rows, -1))
    return signal.view(-1, doubled_width // 2, *channels)


def _phases(cells_bi2: Tensor, transform: Transform) -> Tensor:
    """Compute the spectra (u * v, 2, b, i) of one-hot maps, as `_analyze` would; zero for empty maps."""
    num_rows, num_columns, size_px = len(transform.rows) // 2, len(transform.columns) // 2, transform.rows.shape[1]
    column_bi, row_bi = cells_bi2.clamp(min=0).unbind(2)
    row_phase = transform.rows[:, row_bi].view(num_rows, 1, 2, *row_bi.shape) * (cells_bi2 >= 0).all(2)
    # The first half of the columns is the transform of real values, which is sufficient here.
    column_phase = transform.columns[:, :size_px][:, column_bi].view(num_columns, 2, *column_bi.shape)
    phases = torch.empty(num_rows, num_columns, 2, *row_bi.shape, dtype=row_phase.dtype, device=row_phase.device)
    cosine_r, sine_r, cosine_c, sine_c = *row_phase.unbind(2), *column_phase.unbind(1)
    torch.mul(cosine_r, cosine_c, out=phases[:, :, 0]).addcmul_(sine_r, sine_c, value=-1)
    torch.mul(cosine_r, sine_c, out=phases[:, :, 1]).addcmul_(sine_r, cosine_c)
    return phases.flatten(0, 1)


def _forward_product(map_f2bi: Tensor, kernel_f2oi: Tensor) -> Tensor:
    """Sum map * kernel over i: (f, 2, b, o)."""
    real_fio, imaginary_fio = kernel_f2oi.transpose(2, 3).unbind(1)
    return _product(map_f2bi, real_fio, imaginary_fio, sign=1)


def _map_gradient(grad_f2bo: Tensor, kernel_f2oi: Tensor) -> Tensor:
    """Sum grad * conj(kernel) over o: (f, 2, b, i)."""
    return _product(grad_f2bo, *kernel_f2oi.unbind(1), sign=-1)


def _product(left_f2mn: Tensor, real_fnl: Tensor, imaginary_fnl: Tensor, *, sign: int) -> Tensor:
    """Sum left * (real + sign * i * imaginary) over n, by two real products: (f, 2, m, l)."""
    _, _, num_rows, _ = left_f2mn.shape
    stacked = left_f2mn.flatten(1, 2)
    product = torch.bmm(stacked, real_fnl).view(len(stacked), 2, num_rows, -1)
    crossed = torch.bmm(stacked, imaginary_fnl).view_as(product)
    product[:, 0].sub_(crossed[:, 1], alpha=sign)
    product[:, 1].add_(crossed[:, 0], alpha=sign)
    return product


def _kernel_gradient(grad_f2bo: Tensor, map_f2bi: Tensor) -> Tensor:
    """Sum grad * conj(map) over b: (f, 2, o, i)."""
    grad_real, grad_imaginary = grad_f2bo.transpose(2, 3).unbind(1)
    map_real, map_imaginary = map_f2bi.unbind(1)
    # A batched matrix product needs a dense result, so the parts are combined afterwards.
    real = torch.bmm(grad_f2bo.flatten(1, 2).transpose(1, 2), map_f2bi.flatten(1, 2))
    product = torch.empty(len(real), 2, *real.shape[1:], dtype=real.dtype, device=real.device)
    product[:, 0] = real
    torch.sub(torch.bmm(grad_imaginary, map_real), torch.bmm(grad_real, map_imaginary), out=product[:, 1])
    return product
