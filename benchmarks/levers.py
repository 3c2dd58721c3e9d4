"""Pull the levers of memory efficiency, three seeds a point, and write docs/study/levers.md.

python benchmarks/levers.py            # about twenty minutes on two cores; goes on where it stopped
python benchmarks/levers.py --draw     # only write the page again, from runs/study-levers
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pages import DOCS, standalone

from ramgru import files
from ramgru.lab.compare.levers.config import StudyConfig
from ramgru.lab.compare.levers.markdown import markdown, named_pictures
from ramgru.lab.compare.levers.report import DATA
from ramgru.lab.compare.levers.results import from_json
from ramgru.lab.compare.levers.study import study
from ramgru.lab.show import svg
from ramgru.lab.train.build import ModelConfig, RAMOptions

# So few cells that 1,024 pairs are more than they hold, and points can differ.
START = ModelConfig(ram=RAMOptions(nhead=4, head_size=16, memory_size=4096))
STUDY = StudyConfig(
    out=Path("runs/study-levers"),
    model=START,
    steps=150,
    curriculum=False,
    seeds=(0, 1, 2),
    threads=1,
)
HEADING = "Written by `python benchmarks/levers.py`; do not edit."
IMAGES = "../images/levers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="write the page without training")
    if not parser.parse_args().draw:
        study(STUDY)
    print(f"wrote {write(STUDY.folder / DATA, DOCS / 'study')}")


def write(data: Path, folder: Path) -> Path:
    """The page of a study and its pictures; -> the path of the page."""
    results = from_json(data.read_text(encoding="utf-8"), str(data))
    pictures = named_pictures(results)
    images = folder / IMAGES
    for place in (folder, images):
        place.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        drawn = svg.inline(picture.figure, f"levers-{name}", picture.alt)
        files.write(images / f"{name}.svg", standalone(drawn, name))
    text = markdown(results, HEADING, pictures, IMAGES)
    return files.write(folder / "levers.md", text)


if __name__ == "__main__":
    main()
