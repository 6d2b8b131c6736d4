"""The fuzzer: each target in a process of its own, guided by the coverage of our Python code (Atheris, libFuzzer).

``python -m fuzz [SECONDS [TARGET ...]]``; ``scripts/fuzz`` calls it. Compiled code is not instrumented here: it has
fuzz programs of its own with sanitizers in ``native/tests``.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from fuzz import registry

FOLDER = Path(__file__).parents[2] / "build" / "fuzz"
LIMITS = ("-timeout=10", "-rss_limit_mb=1024", "-max_len=65536", "-print_final_stats=1", "-verbosity=1")


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--child"]:
        _fuzz(arguments[1], arguments[2])
    seconds, names = (arguments[0] if arguments else "60"), arguments[1:] or registry.TARGETS
    if not seconds.isdigit() or not set(names) <= set(registry.TARGETS):
        print(f"usage: scripts/fuzz [SECONDS [TARGET ...]]; targets: {' '.join(registry.TARGETS)}", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    failed = 0
    print(f"{'target':<20} {'executions':>12} {'CPU s':>6} {'edges':>7} {'corpus':>7}  result")
    for name in names:
        child = [sys.executable, "-m", "fuzz", "--child", name, seconds]
        before_s = _children_cpu_s()
        done = subprocess.run(child, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        cpu_s = _children_cpu_s() - before_s
        said = done.stdout.decode("utf-8", "replace")
        runs, edges, corpus = (
            (re.findall(pattern, said) or ["?"])[-1]
            for pattern in (r"stat::number_of_executed_units:\s*(\d+)", r"cov: (\d+)", r"corp: (\d+)")
        )
        log = FOLDER / f"{name}.log"
        log.write_text(said)
        failed += done.returncode != 0
        print(
            f"{name:<20} {runs:>12} {cpu_s:>6.0f} {edges:>7} {corpus:>7}  "
            f"{f'FAILED, see {log}' if done.returncode else 'ok'}",
            flush=True,
        )
    return 1 if failed else 0


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _fuzz(name: str, seconds: str) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    import atheris

    import_module("acceleratorAPI.native._kernels")

    # An editable install brings its own finder of modules, behind which Atheris instruments nothing. With the compiled
    # module imported, the package's folder is enough to find the rest.
    sys.meta_path[:] = [finder for finder in sys.meta_path if not type(finder).__name__.startswith("ScikitBuild")]
    with atheris.instrument_imports(include=["acceleratorAPI"]):
        target = registry.load(name)
    known = FOLDER / name
    seeds = known.with_name(f"{name}.seeds")
    for folder in (known, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (seeds / str(number)).write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={FOLDER}/{name}-", *LIMITS]
    atheris.Setup([name, *options, str(known), str(seeds)], lambda data: target.check(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
