"""How this process uses the machine's processors: threads, and numbers that are next to nothing."""

from __future__ import annotations


def use_threads(threads: int) -> None:
    """Set the number of threads of torch, and take denormal numbers for zero.

    Softmax weights and their gradients underflow, and a processor computes with what is below 1e-38 (a denormal number)
    up to a hundred times slower than with zero: the backward pass of attention took six times as long.
    """
    import torch

    torch.set_flush_denormal(True)  # before threads are started, which take it over
    torch.set_num_threads(threads)
