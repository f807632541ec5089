"""The programs' named random streams (ChaCha20) again, so that what they drew can be drawn here: weights, orders, splits.

A stream's key is the SHA-256 of its name; words come in the order of the cipher (RFC 8439, with a 64-bit counter).
"""

import hashlib

import numpy as np
import torch


def _blocks(key, first, n):
    """`n` blocks of 16 words."""
    counters = np.arange(first, first + n, dtype=np.uint64)
    state = np.zeros((16, n), dtype=np.uint32)
    state[:12] = np.array([0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *key], dtype=np.uint32)[:, None]
    state[12], state[13] = counters & 0xFFFFFFFF, counters >> np.uint64(32)
    x = state.copy()

    def quarter(a, b, c, d):
        for p, q, r, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[p] += x[q]
            mixed = x[r] ^ x[p]
            x[r] = (mixed << np.uint32(bits)) | (mixed >> np.uint32(32 - bits))

    for _ in range(10):
        quarter(0, 4, 8, 12), quarter(1, 5, 9, 13), quarter(2, 6, 10, 14), quarter(3, 7, 11, 15)
        quarter(0, 5, 10, 15), quarter(1, 6, 11, 12), quarter(2, 7, 8, 13), quarter(3, 4, 9, 14)
    return (x + state).T


class Stream:
    """The stream of (effective seed, purpose, index)."""

    def __init__(self, seed, purpose, index=0):
        name = f"pate-synth/1\n{seed}\n{purpose}\n{index}".encode()
        self.key = np.frombuffer(hashlib.sha256(name).digest(), dtype="<u4")
        self.words, self.at, self.next_block = np.empty(0, dtype=np.uint32), 0, 0

    def take(self, n):
        """The next `n` words."""
        short = n - (len(self.words) - self.at)
        if short > 0:
            n_blocks = max(64, -(-short // 16))
            more = _blocks(self.key, self.next_block, n_blocks).reshape(-1)
            self.words, self.at = np.concatenate([self.words[self.at :], more]), 0
            self.next_block += n_blocks
        self.at += n
        return self.words[self.at - n : self.at]

    def u64(self):
        low, high = self.take(2)
        return int(low) | int(high) << 32

    def uniform(self, n, low, high):
        """float32 in [low, high), from the upper 24 bits of each word."""
        u = (self.take(n) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
        low, high = np.float32(low), np.float32(high)
        return low + (high - low) * u

    def below(self, n):
        top = 2**64 - 1
        while (x := self.u64()) >= top - top % n:
            pass
        return x % n

    def permutation(self, n):
        order = list(range(n))
        for i in range(n - 1, 0, -1):
            j = self.below(i + 1)
            order[i], order[j] = order[j], order[i]
        return order


def fresh(network, seed):
    """Gives a network the weights that the programs start with, in the layout that they compute in."""
    stream = Stream(seed, "weights")
    layers = [layer for layer in network.modules() if hasattr(layer, "weight")]
    for layer in layers:
        # Uniform within 1/sqrt(fan-in), PyTorch's default; the fan-in is counted over the weight's second axis.
        bound = np.float32(1.0) / np.sqrt(np.float32(layer.weight[0].numel()))
        for parameter in (layer.weight, layer.bias):
            values = stream.uniform(parameter.numel(), -bound, bound)
            parameter.data = torch.from_numpy(values).reshape(parameter.shape)
    return network.to(memory_format=torch.channels_last)


def seed_torch(seed, epoch):
    """Seeds PyTorch's generator, for dropout and noise, the way that the programs seed libtorch's."""
    torch.manual_seed(Stream(seed, "torch", epoch).u64() >> 1)
