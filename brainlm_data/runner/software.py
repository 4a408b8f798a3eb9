"""Which versions computed a result: its receipt notes them for `brainlm-data why`. They decide no rerun."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from functools import cache

# distribution -> its module: what does arithmetic or reads and writes data
LIBRARIES = {
    "antspyx": "ants", "isal": "isal", "nibabel": "nibabel", "nilearn": "nilearn", "numba": "numba", "numpy": "numpy",
    "pandas": "pandas", "pyarrow": "pyarrow", "safetensors": "safetensors",
    "scikit-learn": "sklearn", "scipy": "scipy", "torch": "torch", "xarray": "xarray", "zarr": "zarr",
}  # fmt: skip


def software() -> dict[str, str]:
    """Versions of Python, of this package, and of the libraries that this process has imported so far."""
    own = {"python": platform.python_version(), "brainlm-pipeline": _version("brainlm-pipeline")}
    return own | {name: _version(name) for name, module in LIBRARIES.items() if module in sys.modules}


@cache
def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:  # a module without metadata: from a source tree, or vendored
        return "unknown"
