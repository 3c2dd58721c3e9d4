"""Use the wheel and the sdist of a folder, each in an environment of its own: `smoke.py dist`.

The environments see this one's torch, numpy and setuptools, but not its ramgru. Prints what it
found; exits 1 if the wheel lacks a file, holds sources, does not run, or takes long to import.
`smoke.py` without a folder uses the ramgru that is installed beside it, on any system.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

NEEDED = (
    "ramgru/py.typed",
    "ramgru/kernels/native/library.so",
    "ramgru/lab/show/live.js",
    "ramgru/lab/show/live.css",
    "ramgru/lab/show/report.css",
    "ramgru/lab/show/ramgru.mplstyle",
)
SOURCES = ("src/ramgru/kernels/native/kernels.cpp", "src/ramgru/kernels/memory_scan/scan.h")
IMPORT = 0.2  # seconds beyond torch's own, at most
USE = """
import time, torch, numpy
# Of torch alone, what a first layer needs; the rest is ramgru's.
start = time.perf_counter()
import ramgru
seconds = time.perf_counter() - start
from ramgru import kernels
layer = ramgru.RAMGRU(8, 16, batch_first=True)
x = torch.randn(2, 10, 8)
output, h_n = layer(x)
output.sum().backward()
stream = layer.eval().stream(batch_size=2)
with torch.no_grad():
    y = torch.stack([stream.step(x[:, t]) for t in range(10)], dim=1)
    torch.testing.assert_close(y, layer(x)[0], rtol=1e-4, atol=1e-5)
print(ramgru.__file__)
print(kernels.native.info())
print(seconds)
"""


def main(folder: Path) -> int:
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert set(NEEDED) <= set(names), f"the wheel lacks {set(NEEDED) - set(names)}"
    assert not [n for n in names if n.endswith((".h", ".cpp"))], "the wheel holds sources"
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert set(SOURCES) <= held, f"the sdist lacks {set(SOURCES) - held}"
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes; {sdist.name}: {sdist.stat().st_size:,}")
    seconds = used(wheel)
    print(f"import of ramgru beyond torch: {seconds:.3f} s (at most {IMPORT} s)")
    used(sdist)
    return int(seconds > IMPORT)


def used(package: Path) -> float:
    """Install the package and use it -> seconds of its import."""
    with tempfile.TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        python = str(Path(place, "bin", "python"))
        inside = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        Path(inside, "outside.pth").write_text(sysconfig.get_path("purelib"))
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        # Before Python 3.12 an environment has an older setuptools, which hides this one's.
        subprocess.run(
            [*pip, "uninstall", "--yes", "setuptools"], check=True, stderr=subprocess.DEVNULL
        )
        install = [*pip, "install", "--no-deps", "--no-build-isolation"]
        subprocess.run([*install, str(package)], check=True)
        where, info, seconds = runs(python, place)
        assert where.startswith(inside), f"another ramgru was imported: {where}"
    print(f"{package.name}, Python {sys.version.split()[0]}: {info}")
    return float(seconds)


def runs(python: str, place: str) -> list[str]:
    """Use the layer and the commands of an environment -> what USE prints."""
    found = subprocess.run(
        [python, "-I", "-c", USE], capture_output=True, text=True, check=True, cwd=place
    )
    command = str(Path(python).with_name("ramgru"))
    for words in (["--version"], ["info"], ["train", "--help"]):
        subprocess.run([command, *words], check=True, cwd=place, stdout=subprocess.DEVNULL)
    return found.stdout.splitlines()


def installed() -> int:
    """Use the ramgru of this environment."""
    with tempfile.TemporaryDirectory() as place:
        where, info, seconds = runs(sys.executable, place)
    print(f"{where}, Python {sys.version.split()[0]}, {float(seconds):.3f} s: {info}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) if len(sys.argv) > 1 else installed())
