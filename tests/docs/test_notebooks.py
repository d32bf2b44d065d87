"""The notebooks: they run as they stand, what is stored is what they print today, and no path of a machine is in it."""

from __future__ import annotations

import json
import re
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
STORE = "run: python tests/docs/test_notebooks.py"


def code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kinds(cell: dict[str, Any]) -> list[tuple[str, ...]]:
    """What a cell gave: streams by name, results by their forms."""
    return [(one["name"],) if "name" in one else tuple(sorted(one.get("data", {}))) for one in cell["outputs"]]


def texts(cell: dict[str, Any]) -> str:
    """The words a cell printed, without the numbers, which differ in their last digits from processor to processor."""
    parts = [one.get("text") or one.get("data", {}).get("text/plain", "") for one in cell["outputs"]]
    whole = "".join("".join(part) for part in parts)
    return " ".join(re.findall(r"[A-Za-z_]{3,}", whole))


def executed(file: Path, here: Path) -> Any:
    """A notebook with the outputs of today, without times and versions."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(file, as_version=4)
    place = {"metadata": {"path": here}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place, record_timing=False).execute()
    notebook.metadata.pop("language_info")
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


def test_there_are_three() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["classifier", "tiles", "training"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_stored_with_outputs_and_without_paths(file: Path) -> None:
    notebook = json.loads(file.read_text(encoding="utf-8"))
    cells = code(notebook)
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)], STORE
    assert sum(bool(cell["outputs"]) for cell in cells) >= 4
    assert any("image/png" in kind for cell in cells for kind in kinds(cell))
    for cell in cells:
        assert ("stderr",) not in kinds(cell)
        said = json.dumps([one for one in cell["outputs"] if "image/png" not in one.get("data", {})])
        assert not re.search(r"(?<![\w.])/\w+/|[A-Z]:\\\\", said), said


@pytest.mark.docs
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_runs_as_it_stands(file: Path, tmp_path: Path) -> None:
    if find_spec("nbclient") is None or find_spec("ipykernel") is None:
        pytest.skip("nbclient and ipykernel are not installed: pip install --group docs")
    stored = json.loads(file.read_text(encoding="utf-8"))
    notebook = executed(file, tmp_path)
    assert not list(tmp_path.iterdir())  # nothing is left behind
    for was, now in zip(code(stored), code(notebook), strict=True):
        assert kinds(was) == kinds(now), (was["source"], STORE)
        assert texts(was) == texts(now), (was["source"], STORE)


if __name__ == "__main__":
    for one in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as empty:
            text = json.dumps(executed(one, Path(empty)), indent=1, ensure_ascii=False)
        one.write_text(f"{text}\n", encoding="utf-8")
