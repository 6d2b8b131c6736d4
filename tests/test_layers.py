"""The layer rule of docs/architecture.md: who may import whom, imports inside functions counted."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "acceleratorAPI"
NAME = PACKAGE.name

LEAVES = {"errors", "files", "config", "remote"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "config": {"errors", "protocol"},
    "protocol": {"errors"},
    "remote": {"errors"},
    "native": LEAVES,
    "drivers": LEAVES | {"native", "protocol"},
    "functions": LEAVES | {"native", "drivers", "protocol"},
    "node": LEAVES | {"functions", "drivers", "native", "protocol"},
    "providers": LEAVES | {"protocol"},
    "client": LEAVES | {"providers", "native", "protocol"},
    "store": {"config", "errors", "files", "protocol"},
    "testing": LEAVES | {"functions", "drivers", "native", "protocol"},
    "acceleratorAPI": LEAVES | {"client", "protocol"},
    "cli": LEAVES | {"client", "functions", "native", "node", "protocol", "providers", "store", "testing"},
    "__main__": {"cli"},
    "__init__": {"client", "errors", "protocol"},
}
THIRD_PARTIES: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "config": {"pydantic", "platformdirs"},
    "protocol": {"pydantic"},
    "remote": set(),  # s3fs and gcsfs by importlib, when a URL needs them
    "native": set(),
    "drivers": set(),
    "functions": {"deflate", "pydantic", "isal", "zlib_ng", "cryptography", "numpy", "simplejpeg", "PIL"},
    "node": {
        "crc32c",
        "opentelemetry",
        "joserfc",
        "prometheus_client",
        "fastapi",
        "starlette",
        "uvicorn",
        "httptools",
        "psutil",
        "pydantic",
        "platformdirs",
        "swagger_ui_bundle",
    },
    "providers": {"boto3", "botocore", "cryptography", "pydantic", "psutil", "platformdirs"},
    "client": {"crc32c", "opentelemetry", "pydantic", "urllib3"},
    "store": {
        "csp",
        "dj_database_url",
        "django",
        "django_ratelimit",
        "django_stubs_ext",
        "gunicorn",
        "joserfc",
        "markdown_it",
        "ninja",
        "oauth2_provider",
        "oauthlib",
        "platformdirs",
        "prometheus_client",
        "pydantic",
        "pygal",
    },
    "testing": {"moto", "psutil", "pytest", "pydantic", "werkzeug"},
    "acceleratorAPI": set(),
    "cli": {"typer", "click", "rich", "pydantic", "platformdirs", "django"},
    "__main__": set(),
    "__init__": set(),
}


def layer_of(path: Path) -> str:
    """The first folder below the package, or the module's name."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(tree: ast.AST, path: Path) -> list[tuple[int, str]]:
    """Each imported dotted name with its line, relative imports made absolute."""
    found: list[tuple[int, str]] = []
    here = (NAME, *path.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


def violations(source: str, path: Path) -> list[str]:
    """What in ``source``, taken as the file ``path``, breaks the rule."""
    layer = layer_of(path)
    wrong: list[str] = []
    for line, name in imports(ast.parse(source), path):
        top, *rest = name.split(".")
        if top == NAME:
            other = rest[0] if rest else "__init__"
            if other not in ALLOWED and other != layer:
                continue  # a public name taken from the package itself
            if other != layer and other not in ALLOWED[layer]:
                wrong.append(f"{path.name}:{line} {layer} -> {other}")
        elif top not in sys.stdlib_module_names and top not in THIRD_PARTIES[layer] | {"typing_extensions"}:
            wrong.append(f"{path.name}:{line} {layer} -> {top} (third party)")
    return wrong


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_layers(path: Path) -> None:
    assert violations(path.read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        ("node", "from acceleratorAPI.providers import local"),
        ("node", "def f():\n    from acceleratorAPI import client"),
        ("client", "import acceleratorAPI.node.serve"),
        ("functions", "from ..node import serve"),
        ("client", "import fastapi"),
        ("store", "from acceleratorAPI.node import rows"),
        ("node", "from acceleratorAPI.store import metering"),
        ("client", "import acceleratorAPI.store.settings"),
        ("client", "import django"),
        ("errors", "from acceleratorAPI import config"),
    ],
)
def test_a_forbidden_import_is_seen(layer: str, source: str) -> None:
    folder = PACKAGE / layer if (PACKAGE / layer).is_dir() else PACKAGE
    path = folder / ("module.py" if folder != PACKAGE else f"{layer}.py")
    assert violations(source, path)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_short_and_open_with_a_docstring(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= 600
    assert ast.get_docstring(ast.parse(source)), f"{path} has no module docstring"
