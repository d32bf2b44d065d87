"""What importing padprint must not cost."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torchvision", "timm", "matplotlib", "pandas")


def modules_after(code: str) -> set[str]:
    """Top-level modules a fresh interpreter has loaded after running `code`."""
    report = "import sys, json; sys.stderr.write(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stderr))


def test_importing_padprint_loads_nothing_heavy() -> None:
    assert modules_after("import padprint").isdisjoint({*HEAVY, "torch", "rich", "typer"})


def test_modules_are_there_without_an_import_of_their_own() -> None:
    code = (
        "import padprint\n"
        "for name in ('baselines', 'models', 'overlap', 'padding', 'plot', 'report', 'scenes', 'studies', 'training', 'wholemap'):\n"
        "    assert getattr(padprint, name).__name__ == f'padprint.{name}' and name in dir(padprint)\n"
    )
    assert "torch" in modules_after(code)


def test_results_load_without_pictures_and_frames() -> None:
    assert modules_after("from padprint import load, Measurement").isdisjoint(HEAVY)


def test_measuring_loads_torch_and_little_else() -> None:
    code = (
        "import torch, padprint\n"
        "net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, padding=1))\n"
        "padprint.measure(net, [torch.randn(3, 40, 40) for _ in range(2)], crop=16, crops_per_image=2)\n"
    )
    loaded = modules_after(code)
    assert "torch" in loaded
    assert loaded.isdisjoint({*HEAVY, "torchmetrics", "transformers", "scipy", "lightning"})


def test_watching_loads_torch_and_little_else() -> None:
    loaded = modules_after("from padprint.training import Watch")
    assert loaded.isdisjoint({*HEAVY, "torchmetrics", "transformers", "scipy", "lightning"})


def test_help_does_not_load_torch() -> None:
    code = (
        "import sys; from padprint.cli import main\n"
        "for arguments in (['--help'], ['measure', '--help'], ['layers', '--help'], ['demo', '--help']):\n"
        "    sys.argv = ['padprint', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit as leaving: assert leaving.code == 0\n"
    )
    loaded = modules_after(code)
    assert "typer" in loaded
    assert loaded.isdisjoint({*HEAVY, "torch", "numpy"})


@pytest.mark.parametrize("name", ["matplotlib", "pandas"])
def test_the_check_can_fail(name: str) -> None:
    assert name in modules_after(f"import padprint, {name}")
