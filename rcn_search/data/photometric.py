"""Change the gray values of whole batches on the device: light, sharpness, noise, compression.

The result for an image depends on its own draws alone, that of each pixel's noise too. Libraries of augmentations draw
from one generator for a batch instead, so that an image would depend on its neighbors.

Blur, scaling down and compression are products with small matrices, one for each image, on both sides of the image.

Shape letters: b images, c channels, d draws, h rows, w columns, s = h = w; o output pixels, i input pixels.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from rcn_search.config.images import PAPER_INPUT_PX, PhotometricConfig

# Columns of the draws.
_BRIGHTNESS, _CONTRAST, _GAMMA, _NOISE, _NOISE_KEY, _BLUR, _DOWNSCALE, _JPEG, _GRAY, NUM_PHOTOMETRIC_DRAWS = range(10)
_BLOCK_PX = 8

# Quantization of luminance in JPEG, ITU-T T.81, table K.1; rows are vertical frequencies.
_JPEG_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def change_photometry(image_bchw: Tensor, draws_bd: Tensor, options: PhotometricConfig) -> Tensor:
    """Apply all changes that ``options`` asks for, in the order in which a camera makes them.

    Args:
        image_bchw: Gray values 0..255, square images.
        draws_bd: Random numbers of the images, uniform in [0, 1).
        options: Largest change of each kind; a kind at its default costs nothing.

    Returns:
        The changed images, clipped to 0..255.
    """
    size_px, draw = image_bchw.shape[-1], draws_bd.unbind(1)
    if options.gray and image_bchw.shape[1] == 3:
        image_bchw = _some_gray(image_bchw, draw[_GRAY] < options.gray)
    image_bchw = _change_light(image_bchw, draws_bd, options)
    if options.blur_px:
        sigma_b = options.blur_px * size_px / PAPER_INPUT_PX * draw[_BLUR]
        image_bchw = _on_both_sides(blur_matrix(sigma_b, size_px), image_bchw)
    if options.downscale:
        image_bchw = _on_both_sides(downscale_matrix(1 - options.downscale * draw[_DOWNSCALE], size_px), image_bchw)
    if options.noise:
        deviation_b = 255 * options.noise * draw[_NOISE]
        image_bchw = image_bchw + deviation_b[:, None, None, None] * gaussian_noise(draw[_NOISE_KEY], image_bchw)
    image_bchw = image_bchw.clamp(0, 255)
    if options.jpeg_quality < 100:
        image_bchw = compress(image_bchw, 100 - (100 - options.jpeg_quality) * draw[_JPEG])
    return image_bchw


def _some_gray(image_bchw: Tensor, chosen_b: Tensor) -> Tensor:
    """Replace the chosen color images by their luma (ITU-R BT.601)."""
    luma_bhw = torch.einsum("bchw,c->bhw", image_bchw, _luma_weights(image_bchw.device))
    return torch.where(chosen_b[:, None, None, None], luma_bhw[:, None], image_bchw)


@lru_cache(maxsize=4)
def _luma_weights(device: torch.device) -> Tensor:
    """Create the weights of red, green and blue once: each copy to a GPU would wait for it."""
    return torch.tensor([0.299, 0.587, 0.114], device=device)


def _change_light(image_bchw: Tensor, draws_bd: Tensor, options: PhotometricConfig) -> Tensor:
    """Change exponent, contrast about the image's mean, and brightness."""
    signed = (2 * draws_bd - 1)[:, :, None, None, None]
    if options.gamma:
        exponent = (1 + options.gamma) ** signed[:, _GAMMA]
        image_bchw = 255 * (image_bchw / 255) ** exponent
    if options.contrast:
        mean = image_bchw.mean(dim=(1, 2, 3), keepdim=True)
        image_bchw = mean + (image_bchw - mean) * (1 + options.contrast * signed[:, _CONTRAST])
    if options.brightness:
        image_bchw = image_bchw + 255 * options.brightness * signed[:, _BRIGHTNESS]
    return image_bchw.clamp(0, 255)


def _on_both_sides(matrix_boi: Tensor, image_bchw: Tensor) -> Tensor:
    """Apply the matrix of each image to its columns and its rows."""
    changed: Tensor = matrix_boi[:, None] @ image_bchw @ matrix_boi[:, None].transpose(2, 3)
    return changed


def blur_matrix(sigma_b: Tensor, size_px: int) -> Tensor:
    """Build matrices (b, s, s) that blur with a Gaussian of the given deviation in pixels, renormalized at the edge."""
    pixel = torch.arange(size_px, device=sigma_b.device)
    square_oi = (pixel[:, None] - pixel).square()
    weight_boi = torch.exp(-square_oi / (2 * sigma_b.clamp(min=1e-3).square())[:, None, None])
    return weight_boi / weight_boi.sum(dim=2, keepdim=True)


def downscale_matrix(scale_b: Tensor, size_px: int) -> Tensor:
    """Build matrices (b, s, s) that average pixels to ``scale`` of their number and interpolate linearly between them.

    The coarse pixels need not be whole: one may end within a fine one.
    """
    pixel = torch.arange(size_px, device=scale_b.device, dtype=scale_b.dtype)
    scale_b11 = scale_b[:, None, None]
    position_bo1 = ((pixel + 0.5)[:, None] * scale_b11 - 0.5).clamp(min=0)
    position_bo1 = torch.minimum(position_bo1, size_px * scale_b11 - 1)
    first_bo1 = position_bo1.floor()
    matrix_boi = torch.zeros(len(scale_b), size_px, size_px, device=scale_b.device, dtype=scale_b.dtype)
    for coarse_bo1 in (first_bo1, first_bo1 + 1):
        weight_bo1 = 1 - (position_bo1 - coarse_bo1).abs()
        begin, end = coarse_bo1 / scale_b11, (coarse_bo1 + 1) / scale_b11
        overlap_boi = (torch.minimum(end, pixel + 1) - torch.maximum(begin, pixel)).clamp(min=0)
        matrix_boi += weight_bo1 * overlap_boi * scale_b11
    return matrix_boi / matrix_boi.sum(dim=2, keepdim=True)


def gaussian_noise(key_b: Tensor, like_bchw: Tensor) -> Tensor:
    """Draw standard normal values in the shape of a batch, each from the key of its image (0..1) and its place alone.

    The 32-bit finalizer of MurmurHash3 (Appleby 2011) makes uniform numbers of a counter, Box and Muller (1958) normal
    ones of those.
    """
    count = like_bchw[0].numel()
    counter = torch.arange(count + count % 2, device=key_b.device)
    key = (key_b * 2**24).long()[:, None]
    uniform = _hash_32(_hash_32(key) ^ counter).to(torch.float32).add_(0.5).div_(2**32)
    first, second = uniform.tensor_split(2, dim=1)
    radius, angle = torch.sqrt(-2 * torch.log(first.clamp(min=1e-9))), 2 * torch.pi * second
    normal = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)
    return normal[:, :count].reshape(like_bchw.shape)


def _hash_32(value: Tensor) -> Tensor:
    """Mix the bits of whole numbers 0..2^32 - 1 (int64), one to one."""
    mask = 0xFFFFFFFF
    value = value ^ (value >> 16)
    value = value * 0x85EBCA6B & mask
    value = value ^ (value >> 13)
    value = value * 0xC2B2AE35 & mask
    return value ^ (value >> 16)


@lru_cache(maxsize=16)
def _block_cosines(size_px: int, device: torch.device) -> Tensor:
    """Build the orthonormal cosine transform of every 8 pixels (and of what is left at the end): (s, s)."""
    blocks = []
    for start in range(0, size_px, _BLOCK_PX):
        n = min(_BLOCK_PX, size_px - start)
        place = torch.arange(n, dtype=torch.float64)
        block = torch.cos(torch.pi * (2 * place + 1) * place[:, None] / (2 * n)) * (2 / n) ** 0.5
        block[0] /= 2**0.5
        blocks.append(block)
    cosines: Tensor = torch.block_diag(*blocks)
    return cosines.to(device=device, dtype=torch.float32)


@lru_cache(maxsize=16)
def _quantization_table(size_px: int, device: torch.device) -> Tensor:
    """Build JPEG's steps at quality 50 for every cosine of `_block_cosines`: (s, s)."""
    repeats = -(-size_px // _BLOCK_PX)
    return torch.tensor(_JPEG_TABLE, device=device, dtype=torch.float32).repeat(repeats, repeats)[:size_px, :size_px]


def compress(image_bchw: Tensor, quality_b: Tensor) -> Tensor:
    """Lose what JPEG loses of each channel at a quality of 1 to 100: cosines of 8x8 blocks are rounded.

    The rounding steps are those of the Independent JPEG Group's library; colors are not subsampled.
    """
    size_px = image_bchw.shape[-1]
    cosines = _block_cosines(size_px, image_bchw.device)
    percent_b = torch.where(quality_b < 50, 5000 / quality_b, 200 - 2 * quality_b)
    table_ss = _quantization_table(size_px, image_bchw.device)
    step_b1ss = ((table_ss * percent_b[:, None, None] + 50) / 100).floor().clamp(min=1)[:, None]
    rounded = ((cosines @ (image_bchw - 128) @ cosines.T) / step_b1ss).round() * step_b1ss
    restored: Tensor = (cosines.T @ rounded @ cosines + 128).clamp(0, 255)
    return restored
