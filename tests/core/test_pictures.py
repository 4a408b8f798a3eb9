"""Pictures of every kind that people have: their brightness is what was shown, or there is one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainlm_data import read_pictures
from brainlm_data.errors import InputError
from brainlm_data.reading.pictures import BEHIND, read_picture

RAMP = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (16, 1))  # dark on the left


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_sixteen_bits_are_not_cut_off(tmp_path: Path) -> None:
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert np.array_equal(read_picture(saved(deep, tmp_path / "deep.png"), 16), RAMP)
    shallow = saved(Image.fromarray(RAMP.astype(np.uint16)), tmp_path / "shallow.png")
    with pytest.raises(InputError, match=r"shallow\.png.*16 bits per pixel, with brightness from 0 to 255"):
        read_picture(shallow, 16)


def test_a_camera_held_on_its_side(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = saved(Image.fromarray(RAMP[:, ::-1].copy()), tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_picture(turned, 16), RAMP)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_grey_is_behind_what_is_transparent(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (16, 16), (255, 255, 255, 0))
    image.paste((10, 10, 10, 255), (8, 0, 16, 16))
    picture = read_picture(saved(image.convert(mode), tmp_path / "clear.png"), 16)
    assert picture.ndim == (2 if mode == "LA" else 3)
    assert abs(int(picture[5, 3].max()) - BEHIND) <= 1 and picture[5, 12].max() == 10


def test_other_kinds(tmp_path: Path) -> None:
    paths = [
        saved(Image.fromarray(RAMP), tmp_path / "grey.png"),
        saved(Image.fromarray(RAMP).convert("P"), tmp_path / "palette.gif"),
        saved(Image.fromarray(RAMP > 127), tmp_path / "two.png"),
        saved(Image.fromarray(np.stack([RAMP] * 3, -1)).convert("CMYK"), tmp_path / "print.jpg", quality=95),
    ]
    pictures = read_pictures(paths, 16)
    assert pictures.shape == (4, 16, 16, 3)
    for picture in pictures[[0, 1, 3]]:
        assert np.abs(picture.astype(int) - RAMP[..., None]).max() < 8
    floats = saved(Image.fromarray(RAMP.astype(np.float32)), tmp_path / "floats.tiff")
    with pytest.raises(InputError, match="floating point"):
        read_picture(floats, 16)
    with pytest.raises(InputError, match="a picture file"):
        read_picture(saved_text(tmp_path / "text.png"), 16)


def saved_text(path: Path) -> Path:
    path.write_text("no picture")
    return path
