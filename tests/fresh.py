"""An environment that holds a wheel, what it declares to need, and nothing else that is installed here.

Its packages are links to those of the interpreter that runs the tests, so that torch is not installed anew: what is tested is that
the wheel works with what it declares, not that an index has it.
"""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from email.parser import Parser
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement


def declared(wheel: Path, extras: Iterable[str] = ()) -> list[Requirement]:
    """What the wheel needs, with its extras."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    return applying(metadata.get_all("Requires-Dist") or [], extras)


def applying(lines: Iterable[str], extras: Iterable[str]) -> list[Requirement]:
    found = [Requirement(line) for line in lines]
    wanted = ["", *extras]
    return [one for one in found if one.marker is None or any(one.marker.evaluate({"extra": name}) for name in wanted)]


def closure(needed: Iterable[Requirement]) -> dict[str, Distribution]:
    """The installed distributions that these need, by name."""
    found: dict[str, Distribution] = {}
    asked: set[tuple[str, frozenset[str]]] = set()
    waiting = list(needed)
    while waiting:
        one = waiting.pop()
        key = one.name.lower().replace("_", "-"), frozenset(one.extras)
        if key in asked or key[0] == "padprint":
            continue
        asked.add(key)
        found[key[0]] = there = distribution(one.name)
        assert one.specifier.contains(there.version, prereleases=True), f"{there.version} is installed, and not {one}"
        waiting += applying(there.requires or [], one.extras)
    return found


def environment(folder: Path, wheel: Path, extras: Iterable[str] = ()) -> Path:
    """A virtual environment with the wheel; the path of its scripts."""
    venv.create(folder, symlinks=True)
    scripts = folder / "bin"
    site = next((folder / "lib").glob("python*")) / "site-packages"
    for there in closure(declared(wheel, extras)).values():
        tops = {file.parts[0] for file in there.files or [] if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(there.locate_file(top))))
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    return scripts
