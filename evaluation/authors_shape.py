"""The network of QARV's authors, in its shape and with random weights: a yardstick for speed, nothing else.

After the architecture tables of Z. Duan, M. Lu, J. Ma, Y. Huang, Z. Ma, F. Zhu, "QARV: Quantization-Aware ResNet
VAE for Lossy Image Compression", IEEE TPAMI 2023 (arXiv 2302.08899). It codes nothing: latents are rounded and
passed on, so what it takes is the least that a codec around it would take.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EMBEDDING = 256
_ENCODER = ((4, 192, 7, 6), (8, 384, 7, 6), (16, 512, 5, 6), (32, 512, 3, 4), (64, 512, 1, 4))
"""Stride, width, kernel, blocks."""
_DECODER = ((64, 512, 1, 4.0, 32, 1), (32, 512, 3, 3.0, 32, 2), (16, 384, 5, 2.0, 96, 3), (8, 256, 7, 1.75, 8, 3))
"""Stride, width, kernel, expansion, latent channels, latents."""
_LAST = (128, 7, 1.5, 8)
"""At stride 4: width, kernel, expansion, blocks."""


class AuthorsNetwork(nn.Module):
    """Images are `(B, 3, H, W)`, float32, H and W multiples of 64."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Linear(_EMBEDDING, _EMBEDDING), nn.GELU(), nn.Linear(_EMBEDDING, _EMBEDDING), nn.GELU()
        )
        self.down = nn.ModuleList()
        self.up_path = nn.ModuleList()
        before, stride = 3, 1
        for level, width, kernel, blocks in _ENCODER:
            rate = level // stride
            self.down.append(nn.Conv2d(before, width, rate, stride=rate))
            closing = 1 if level < 64 else 0
            self.up_path.append(nn.ModuleList(_Block(width, kernel) for _ in range(blocks + closing)))
            before, stride = width, level
        encoder_widths = {level: width for level, width, *_ in _ENCODER}
        self.start = nn.Parameter(torch.zeros(1, _DECODER[0][1], 1, 1))
        self.levels = nn.ModuleList(_Level(encoder_widths[row[0]], *row[1:], first=row[0] == 64) for row in _DECODER)
        widths = [*(row[1] for row in _DECODER[1:]), _LAST[0]]
        self.widen = nn.ModuleList(_upsample(row[1], width, 2) for row, width in zip(_DECODER, widths, strict=True))
        width, kernel, expand, blocks = _LAST
        self.out = nn.ModuleList(_Block(width, kernel, expand) for _ in range(blocks))
        self.leave = _upsample(width, 3, 4)

    def encode(self, images: Tensor) -> Tensor:
        """All that an encoder computes: the bottom-up path, and the top-down path with its posteriors."""
        embedding = self._embedding(images)
        features = []
        x = images
        for down, blocks in zip(self.down, self.up_path, strict=True):
            x = down(x)
            for block in cast(nn.ModuleList, blocks):
                x = block(x, embedding)
            features.append(x)
        f = self._start(images)
        for level, double, h in zip(self.levels, self.widen, reversed(features[1:]), strict=True):
            f = double(level(f, h, embedding))
        return f

    def decode(self, images: Tensor) -> Tensor:
        """All that a decoder of images of this size computes; of `images`, only the shape is used."""
        embedding = self._embedding(images)
        f = self._start(images)
        for level, double in zip(self.levels, self.widen, strict=True):
            f = double(level(f, None, embedding))
        for block in self.out:
            f = block(f, embedding)
        return self.leave(f)

    def _embedding(self, images: Tensor) -> Tensor:
        return self.embed(torch.ones(images.shape[0], _EMBEDDING))

    def _start(self, images: Tensor) -> Tensor:
        return self.start.expand(images.shape[0], -1, images.shape[2] // 64, images.shape[3] // 64)


class _Block(nn.Module):
    """ConvNeXt block with AdaLN and layer scaling."""

    def __init__(self, width: int, kernel: int, expand: float = 2.0) -> None:
        super().__init__()
        hidden = int(expand * width)
        self.depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.adapt = nn.Linear(_EMBEDDING, 2 * width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.depthwise(x).permute(0, 2, 3, 1)
        h = F.layer_norm(h, h.shape[-1:], eps=1e-6)
        shift, scale = self.adapt(embedding)[:, None, None].chunk(2, -1)
        h = self.down(F.gelu(self.up(h * (1 + scale) + shift)))
        return x + (h * self.scale).permute(0, 3, 1, 2)


class _Latent(nn.Module):
    def __init__(self, encoder_width: int, width: int, kernel: int, expand: float, channels: int) -> None:
        super().__init__()
        self.front = _Block(width, kernel, expand)
        self.end = _Block(width, kernel, expand)
        self.posterior_blocks = nn.ModuleList([_Block(encoder_width, kernel), _Block(width, kernel)])
        self.merged_block = _Block(width, kernel)
        self.merge = nn.Conv2d(width + encoder_width, width, 1)
        self.posterior = nn.Conv2d(width, channels, 3, padding=1)
        self.back = nn.Conv2d(channels, width, 1)
        self.prior = nn.Conv2d(width, 2 * channels, 1)

    def forward(self, f: Tensor, h: Tensor | None, embedding: Tensor) -> Tensor:
        f = self.front(f, embedding)
        mean, _ = self.prior(f).chunk(2, 1)
        z = mean
        if h is not None:
            encoder, decoder = self.posterior_blocks
            merged = self.merge(torch.cat([decoder(f, embedding), encoder(h, embedding)], 1))
            z = mean + torch.round(self.posterior(self.merged_block(merged, embedding)) - mean)
        return self.end(f + self.back(z), embedding)


class _Level(nn.Module):
    def __init__(
        self, encoder_width: int, width: int, kernel: int, expand: float, channels: int, latents: int, *, first: bool
    ) -> None:
        super().__init__()
        self.before = nn.ModuleList([] if first else [_Block(width, kernel, expand)])
        self.latents = nn.ModuleList(_Latent(encoder_width, width, kernel, expand, channels) for _ in range(latents))
        self.after = _Block(width, kernel, expand)

    def forward(self, f: Tensor, h: Tensor | None, embedding: Tensor) -> Tensor:
        for block in self.before:
            f = block(f, embedding)
        for latent in self.latents:
            f = latent(f, h, embedding)
        return self.after(f, embedding)


def _upsample(width: int, out: int, rate: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, out * rate**2, 1), nn.PixelShuffle(rate))
