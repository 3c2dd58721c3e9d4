"""The pinned versions: pyproject.toml, constraints.txt and locked.txt name the same packages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def pins(name: str) -> set[tuple[str, str]]:
    return set(PIN.findall((ROOT / name).read_text(encoding="utf-8")))


def required(*extras: str) -> set[str]:
    """Names of the packages of the extras, those of extras that they name included."""
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found, texts = set(), [*project["dependencies"], f"ramgru[{','.join(extras)}]"]
    while texts:
        name, more = re.match(r"([\w-]+)(?:\[([\w,-]+)\])?", texts.pop()).groups()
        if name == "ramgru":
            for extra in more.split(","):
                texts += project["optional-dependencies"][extra]
        else:
            found.add(name.lower())
    return found


def test_each_package_of_an_extra_is_pinned():
    """`vowels` is installed without its dependencies."""
    extras = ("dev", "docs", "integrations", "bench", "browser", "release", "fuzz")
    assert required(*extras) <= {name for name, _ in pins("constraints.txt")}


def test_what_the_tests_install_has_hashes():
    locked = pins("locked.txt")
    assert required("dev") - {name for name, _ in locked} == {"torch"}
    assert locked < pins("constraints.txt")
    for entry in re.split(r"\n(?=\S)", (ROOT / "locked.txt").read_text(encoding="utf-8")):
        assert entry.startswith("#") or "--hash=sha256:" in entry


def test_no_older_torch_is_promised_than_the_one_that_is_tested():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    promised = re.search(r'"torch>=([\d.]+)"', text)[1]
    assert dict(pins("constraints.txt"))["torch"].startswith(f"{promised}.")


def test_no_text_installs_ramgru_from_an_index():
    """The name is on none: whoever registers it would be installed."""
    advice = re.compile(r"pip install ['\"]?ramgru")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("no repository")
    found = []
    for path in map(ROOT.joinpath, listed.stdout.splitlines()):
        if path.is_file() and path != Path(__file__):
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{path}: {match}" for match in advice.findall(text)]
    assert not found
