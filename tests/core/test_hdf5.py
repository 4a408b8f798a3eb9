from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from brainlm_data.errors import InputError
from brainlm_data.methods import hdf5
from brainlm_data.methods.hdf5 import check_transform, lookup3, seal_transform, without_times


@pytest.mark.parametrize(
    ("key", "value"), [(b"", 0xDEADBEEF), (b"Four score and seven years ago", 0x17770551)]
)  # from the author's own test driver
def test_published_values(key: bytes, value: int) -> None:
    assert lookup3(key) == value


def test_the_same_transform_is_the_same_bytes(tmp_path: Path) -> None:
    import ants

    rng = np.random.default_rng(0)
    fixed = ants.from_numpy(rng.random((12, 12, 12)).astype(np.float32))
    files = []
    for name in "ab":
        found = ants.registration(fixed, fixed, "SyNOnly", reg_iterations=(1,), write_composite_transform=True,
                                  outprefix=str(tmp_path / name), random_seed=1)  # fmt: skip
        path = found["fwdtransforms"]
        files.append(Path(path if isinstance(path, str) else path[0]))
        time.sleep(1.1)  # HDF5 counts whole seconds
    assert files[0].read_bytes() != files[1].read_bytes()
    before = ants.apply_transforms(fixed, fixed, [str(files[0])]).numpy()
    for file in files:
        without_times(file)
        seal_transform(file)
        check_transform(file)
    assert files[0].read_bytes() == files[1].read_bytes()
    np.testing.assert_array_equal(ants.apply_transforms(fixed, fixed, [str(files[0])]).numpy(), before)


def test_what_looks_like_a_header_is_left_alone(tmp_path: Path) -> None:
    content = b"noise" + b"OHDR\x02\x20" + bytes(range(120))
    (tmp_path / "x.h5").write_bytes(content)
    without_times(tmp_path / "x.h5")
    assert (tmp_path / "x.h5").read_bytes() == content


def test_every_damage_of_a_sealed_transform_is_found(tmp_path: Path) -> None:
    file = tmp_path / "x_xfm.h5"
    file.write_bytes(bytes(range(200)))
    seal_transform(file)
    content = file.read_bytes()
    check_transform(file)
    for place in range(200):
        file.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(InputError, match="damaged"):
            check_transform(file)


def test_a_file_that_is_never_done_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = hdf5.TRY.replace("import ants\n", "").replace("(30, 30)", "(1, 1)")
    endless = endless.replace("ants.read_transform(sys.argv[1])", "while True: pass")
    assert endless.count("RLIMIT_CPU, (1, 1)") == endless.count("while True") == 1
    monkeypatch.setattr(hdf5, "TRY", endless)
    file = tmp_path / "x_xfm.h5"
    file.write_bytes(bytes(range(200)))
    with pytest.raises(InputError, match="not a readable transform"):
        check_transform(file)
