"""A new function as a package of its own, made from the templates beside this module. ``examples/plugin`` is one."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from acceleratorAPI.errors import FileAccessError, ParameterError
from acceleratorAPI.files import access_error

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST_NAME = 50
# Where each template goes; the marks are filled in in both.
_FILES = {
    "pyproject.toml.in": "pyproject.toml",
    "README.md.in": "README.md",
    "module.py.in": "acceleratorapi_@NAME@.py",
    "test_module.py.in": "tests/test_@NAME@.py",
}


def render(name: str) -> dict[str, str]:
    """The files of the package that adds the function ``name``, by their paths in it.

    Raises:
        ParameterError: the name cannot be a function's.
    """
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise ParameterError(
            f"function name {name[:80]!r}: use lower-case letters and digits, parts joined by single '_', "
            f"a letter first, at most {_LONGEST_NAME} characters (like 'change_case')"
        )
    if keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise ParameterError(f"function name {name!r}: a word of Python or a module it brings; choose another")
    marks = {
        "@NAME@": name,
        "@DASHED@": name.replace("_", "-"),
        # No class or import of the template ends like this, so that no name can collide.
        "@CLASS@": "".join(part.capitalize() for part in name.split("_")) + "Function",
    }

    def fill(text: str) -> str:
        return re.sub("|".join(marks), lambda mark: marks[mark.group()], text)

    folder = files("acceleratorAPI.cli").joinpath("templates", "function")
    return {fill(path): fill(folder.joinpath(template).read_text("utf-8")) for template, path in _FILES.items()}


def create(name: str, into: Path) -> Path:
    """Make the package as the folder ``into/name``, whole or not at all.

    Raises:
        ParameterError: the name cannot be a function's.
        FileAccessError: ``into`` is no folder to write to, or has something of that name.
    """
    contents = render(name)
    final = into / name
    if not into.is_dir():
        raise FileAccessError(f"cannot write {str(final)!r}: {str(into)!r} is no folder; make it first")
    if final.exists() or final.is_symlink():
        raise FileAccessError(f"cannot write {str(final)!r}: it exists; remove it, or choose another name or folder")
    made: Path | None = None
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".partial", dir=into))
        package = made / name
        for path, text in contents.items():
            (package / path).parent.mkdir(parents=True, exist_ok=True)
            (package / path).write_text(text, "utf-8")
        package.rename(final)
    except OSError as error:
        raise access_error("write", final, error) from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
    return final
