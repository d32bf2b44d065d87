"""Pages of the site that are made when it is built: the command line's options, the glossary, the changelog, the notebooks."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from padprint.cli import app
from padprint.report.terms import GLOSSARY

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "docs" / "notebooks"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    made = {"command-line.md": command_line(), "glossary.md": glossary(), "changelog.md": changelog()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        for name, content in notebook_page(notebook):
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def notebook_page(file: Path) -> Iterator[tuple[str, str | bytes]]:
    """A notebook's pictures, and its page: texts, code, and what the code printed when it was stored."""
    parts, pictures = [], 0
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                pictures += 1
                name = f"{file.stem}-{pictures}.png"
                yield name, base64.b64decode("".join(data["image/png"]))
                parts.append(f"![Drawn by the code above]({name})")
            else:
                parts.append(f"```text\n{''.join(data['text/plain']).rstrip()}\n```")
    title, _, rest = "\n\n".join(parts).partition("\n")
    link = f"[Take it as a notebook]({file.name}) and run it yourself; it takes less than a minute."
    yield f"{file.stem}.md", f"{title}\n{rest.lstrip()}\n\n{link}\n"


def glossary() -> str:
    """The words of the reports, each with its meaning."""
    terms = sorted(GLOSSARY.items(), key=lambda item: item[0].lower())
    rows = "\n".join(f"## {name}\n{meaning}\n" for name, meaning in terms)
    return f"# Glossary\nThe words of padprint's pages and reports. Formulas: [definitions](definitions.md).\n\n{rows}"


def changelog() -> str:
    """The changelog, its links as seen from the site."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")


def command_line() -> str:
    """Every command with its arguments and options."""
    start = (
        "# Command line\nEvery command and option, as `padprint COMMAND --help` has them. `--json` prints JSON alone on standard "
        "output; tables, progress and warnings go to standard error. The exit status is 0 when done, 1 when it could not be done, "
        "2 for wrong usage.\n"
    )
    return "\n".join([start, *_commands(typer.main.get_command(app), "padprint")])


def _commands(command: Any, name: str) -> Iterator[str]:
    parts = getattr(command, "commands", None)
    if parts is not None:
        for key, part in parts.items():
            yield from _commands(part, f"{name} {key}")
        return
    yield f"## {name}\n{command.help or ''}\n"
    if command.epilog:
        yield f"{_example(command.epilog)}\n"
    for parameter in command.params:
        yield f"{_names(parameter)}\n\n:   {_meaning(parameter)}\n"


def _example(epilog: str) -> str:
    word, _, text = epilog.partition(": ")
    lines = text.replace(" | padprint ", "\npadprint ")
    return f"{word}:\n```\n{lines}\n```"


def _names(parameter: Any) -> str:
    """An option or argument as it is typed."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    names = ", ".join(f"`{one}`" for one in [*parameter.opts, *parameter.secondary_opts])
    return f"{names} {parameter.metavar}" if parameter.metavar and not parameter.is_flag else names


def _meaning(parameter: Any) -> str:
    """What it does, and its default where the text does not say it."""
    told = " ".join((parameter.help or "").split())
    default = parameter.default
    plain = default in (None, False, ()) or callable(default) or parameter.required
    if plain or "default" in told.lower():
        return told
    return f"{told} Default: `{' '.join(map(str, default)) if isinstance(default, list | tuple) else default}`."
