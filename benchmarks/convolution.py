"""The convolution over token order: torch's conv2d, which the official layer uses, and ours.

    python -m benchmarks.convolution --json [--tokens 4241] [--batch 4] [--heads 4] [--width 256] [--kernel 65]

Random values, kernel and slope, float32. `error`: largest difference of a result from the same in float64, over its
largest value; of the output, of the gradient of the values, of the gradient of the kernel. Seconds are CPU seconds of
one forward and backward pass, median of five, one thread. Each side runs in a process of its own: on some CPUs torch
2.13 writes beyond its memory in the backward pass of a single head.
"""

from __future__ import annotations

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from brainlm_model.models.official.parts import convolve


def torch_conv2d(x: Tensor, kernel: Tensor) -> Tensor:
    return conv2d(x, kernel, padding=(kernel.shape[2] // 2, 0), groups=len(kernel))


SIDES = {"ours": convolve, "torch": torch_conv2d}


def passes(side: str, x: Tensor, kernel: Tensor, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output, gradient of the values, gradient of the kernel."""
    x, kernel = x.clone().requires_grad_(), kernel.clone().requires_grad_()
    out = SIDES[side](x, kernel)
    out.backward(slope)
    assert x.grad is not None and kernel.grad is not None
    return out.detach(), x.grad, kernel.grad


def measure(side: str, batch: int, heads: int, tokens: int, width: int, size: int) -> dict[str, float]:
    """Errors and cost of one side."""
    random = torch.Generator().manual_seed(0)
    shapes = ((batch, heads, tokens, width // heads), (heads, 1, size, 1), (batch, heads, tokens, width // heads))
    given = [torch.randn(*shape, generator=random) for shape in shapes]
    found = passes(side, *given)
    true = passes("torch", *(value.double() for value in given))
    seconds, mb = tools.median_cost(lambda: passes(side, *given))
    errors = {
        f"error_{name}": float((a - b).abs().max() / b.abs().max())
        for name, a, b in zip(("output", "values", "kernel"), found, true, strict=True)
    }
    return {**errors, "cpu_s": seconds, "mb": mb}


def main() -> None:
    parser = tools.parser(__doc__)
    for name, default in (("tokens", 4241), ("batch", 4), ("heads", 4), ("width", 256), ("kernel", 65)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    sizes = (given.batch, given.heads, given.tokens, given.width, given.kernel)
    result = {side: tools.apart(measure, side, *sizes) for side in SIDES}
    shape = f"{given.batch} windows, {given.heads} heads, {given.tokens} tokens, kernel {given.kernel}"
    cpu = torch.backends.cpu.get_cpu_capability()
    ratio = result["torch"]["cpu_s"] / result["ours"]["cpu_s"]
    tools.show({"shape": shape, "cpu": cpu, **result, "ratio": ratio}, given.json)


if __name__ == "__main__":
    main()
