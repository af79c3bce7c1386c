"""Cut many small pictures out of a few photos, as data to calibrate and judge a quantised model with.

Without photos of your own it takes the two that come with scikit-learn. The pictures are the same on every run.
"""

import argparse
import importlib.util
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

SMALLEST_SHARE = 0.5
"""Of the photo's shorter side, for the side of a picture."""


def main() -> None:
    """Write the pictures into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where to write the pictures")
    parser.add_argument("photos", nargs="*", type=Path, help="photos; by default those of scikit-learn")
    parser.add_argument("--count", type=int, default=300, help="number of pictures; default: 300")
    options = parser.parse_args()
    photos: list[Path] = options.photos or installed_photos()
    if not photos:
        sys.exit("cut_photos.py: name some photos, or install scikit-learn's: pip install scikit-learn")
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        cut(photos, options.folder, count=options.count)
    except OSError as exc:
        sys.exit(f"cut_photos.py: {exc}")


def installed_photos() -> list[Path]:
    """Find the photos that come with scikit-learn, without importing it."""
    spec = importlib.util.find_spec("sklearn")
    folders = list(spec.submodule_search_locations or []) if spec else []
    return sorted(path for folder in folders for path in Path(folder, "datasets", "images").glob("*.jpg"))


def cut(photos: Sequence[Path], folder: Path, *, count: int, seed: int = 0) -> None:
    """Write `count` square pictures, from all photos in turn, as JPEG files."""
    chance = random.Random(seed)
    for number in range(count):
        photo = photos[number % len(photos)]
        with Image.open(photo) as image:
            width, height = image.size
            side = int(min(width, height) * chance.uniform(SMALLEST_SHARE, 1))
            left, top = chance.randrange(width - side + 1), chance.randrange(height - side + 1)
            picture = image.convert("RGB").crop((left, top, left + side, top + side))
            picture.save(folder / f"{photo.stem}-{number}.jpg", quality=90)


if __name__ == "__main__":
    main()
