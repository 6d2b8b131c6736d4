"""axonerve_hyperfire from file to file, against perl with a hash, GNU sed and GNU grep, and against itself.

The text is documentation: ``inputs.text``.
"""

from __future__ import annotations

import filecmp
import os
import random
import string
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from acceleratorAPI.files import open_source
from acceleratorAPI.functions.axonerve_hyperfire import HyperFire, ProcessParameters, StartParameters
from acceleratorAPI.native._kernels import WordReplacer
from benchmarks import inputs
from benchmarks.common import Options, Peer, Row, command, compare, program, race, rewritten

_BLOCK = 1 << 20
# Perl, sed and grep take bytes for characters there, as we do.
_C_LOCALE = {"LC_ALL": "C"}
CORPUS = Path(__file__).parents[1] / "tests" / "data" / "hyperfire-corpus-2500.csv"
PERL = r"""
BEGIN { open my $f, "<", shift or die; while (<$f>) { chomp; my ($w, $r) = split /,/, $_, 2; $h{$w} = $r } }
s/(\w+)/$h{$1} \/\/ $1/ge
"""


def measure(work: Path, options: Options) -> list[Row]:
    """Race on the corpus of 2,500 words, once more with 1,000,000 words, and the other modes."""
    text = inputs.text(options.hyperfire_bytes)
    perl_text = inputs.text(min(options.perl_bytes, options.hyperfire_bytes))
    sed_text = inputs.text(options.sed_bytes)
    perl, sed = _perl(CORPUS, perl_text, work / "perl.out"), _sed(sed_text, work, work / "sed.out")
    _agree(perl, CORPUS, perl_text, work / "perl.out")
    _agree(sed, CORPUS, sed_text, work / "sed.out")
    small = _ours("HyperFire, 2,500 words", CORPUS, text, work / "ours.out", options.threads)
    rates = race(small, [perl, sed], options.rounds)
    rows = [compare(small, perl, rates), compare(small, sed, rates)]
    million = _million_words(work / "million.csv")
    _agree(_perl(million, perl_text, work / "perl.out"), million, perl_text, work / "perl.out")
    large = _ours("HyperFire, 1,000,000 words", million, text, work / "ours.out", options.threads)
    rows.append(compare(large, perl, race(large, [perl], options.rounds)))
    rows += _kernel(text, perl_text, sed_text, million, work, options)
    rows += _against_itself(small, text, work, options)
    rows += _on_one_thread(large, million, text, work, options)
    return [*rows, *_against_grep(sed_text, work, options)]


def _kernel(text: Path, perl_text: Path, sed_text: Path, million: Path, work: Path, options: Options) -> list[Row]:
    """The kernel alone, and the function without an output file: taking the output costs as much as making it."""
    nowhere = Path(os.devnull)
    perl, sed = _perl(CORPUS, perl_text, nowhere), _sed(sed_text, work, nowhere)
    memory = _in_memory("HyperFire kernel, 2,500 words, memory to memory", text, options.threads)
    rates = race(memory, [perl, sed], options.rounds)
    rows = [compare(memory, perl, rates), compare(memory, sed, rates)]
    for name, corpus in (("2,500", CORPUS), ("1,000,000", million)):
        ours = _ours(f"HyperFire, {name} words, output to {nowhere}", corpus, text, nowhere, options.threads)
        rows.append(compare(ours, perl, race(ours, [perl], options.rounds)))
    return rows


def _against_itself(default: Peer, text: Path, work: Path, options: Options) -> list[Row]:
    """What a thread less and what counting costs, against the default on two threads."""
    one = _ours("HyperFire on 1 thread", CORPUS, text, work / "one.out", 1)
    counting = ProcessParameters(counts=True)
    counts = _ours("HyperFire with counts", CORPUS, text, work / "counts.out", options.threads, counting)
    rates = race(default, [one, counts], options.rounds)
    return [compare(default, one, rates), compare(default, counts, rates)]


def _on_one_thread(large: Peer, corpus: Path, text: Path, work: Path, options: Options) -> list[Row]:
    """Tables that do not fit a core's cache, searched by one core and by all."""
    one = _ours("HyperFire, 1,000,000 words, on 1 thread", corpus, text, work / "one.out", 1)
    return [compare(large, one, race(large, [one], options.rounds))]


def _against_grep(text: Path, work: Path, options: Options) -> list[Row]:
    """The mode "find" against GNU grep, which prints the same lines."""
    words = work / "words"
    words.write_text("".join(line.partition(",")[0] + "\n" for line in CORPUS.read_text().splitlines()))
    line = [program("grep"), "-aobwF", "-f", os.fspath(words), os.fspath(text)]
    grep = command(
        f"GNU grep -obwF on {text.stat().st_size / 1e6:g} MB",
        line,
        work / "grep.out",
        text.stat().st_size,
        env=_C_LOCALE,
    )
    find = ProcessParameters(mode="find")
    ours = _ours("HyperFire, mode find, 2,500 words", CORPUS, text, work / "find.out", options.threads, find)
    rates = race(ours, [grep], options.rounds)
    if not filecmp.cmp(work / "grep.out", work / "find.out", shallow=False):
        raise SystemExit(f"our lines differ from those of {grep.name}")
    return [compare(ours, grep, rates)]


def _ours(
    name: str,
    corpus: Path,
    text: Path,
    output: Path,
    threads: int,
    parameters: ProcessParameters = ProcessParameters(),  # noqa: B008 - frozen
) -> Peer:
    function = HyperFire(threads)
    function.configure(StartParameters(), corpus)

    def run() -> None:
        with open_source(text) as source, rewritten(output) as target:
            function.process(source, target, parameters)

    return Peer(name, run, text.stat().st_size)


def _in_memory(name: str, text: Path, threads: int) -> Peer:
    """The native code on a text in memory, each thread on a part of its own: what the driver starts from."""
    replacer = WordReplacer(CORPUS.read_bytes(), False)
    data = memoryview(text.read_bytes())
    starts = range(1, len(data), _BLOCK)

    def part(number: int) -> None:
        for start in starts[number::threads]:
            replacer.replace(data[start - 1 : start + _BLOCK], 1)

    def run() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, range(threads)))

    return Peer(name, run, len(data))


def _perl(corpus: Path, text: Path, output: Path) -> Peer:
    line = [program("perl"), "-pe", PERL, os.fspath(corpus), os.fspath(text)]
    return command("perl -pe with a hash of 2,500 words", line, output, text.stat().st_size, env=_C_LOCALE)


def _sed(text: Path, work: Path, output: Path) -> Peer:
    script = work / "corpus.sed"
    with CORPUS.open() as corpus, script.open("w") as expressions:
        for line in corpus:
            word, _, replacement = line.rstrip("\n").partition(",")
            expressions.write(f"s/\\<{word}\\>/{replacement}/g\n")
    line = [program("sed"), "-f", os.fspath(script), os.fspath(text)]
    return command(
        f"GNU sed, 2,500 expressions, on {text.stat().st_size / 1e6:g} MB",
        line,
        output,
        text.stat().st_size,
        env=_C_LOCALE,
    )


def _agree(other: Peer, corpus: Path, text: Path, its_output: Path) -> None:
    """Both must do the same work for a ratio to mean anything."""
    other.run()
    our_output = its_output.with_suffix(".ours")
    _ours("", corpus, text, our_output, 2).run()
    if not filecmp.cmp(its_output, our_output, shallow=False):
        raise SystemExit(f"our output differs from that of {other.name}")


def _million_words(path: Path) -> Path:
    """The 2,500 words, so that as many tokens match as before, among a million."""
    chooser = random.Random(1)
    lines = dict(line.split(",", 1) for line in CORPUS.read_text().splitlines())
    while len(lines) < 1_000_000:
        word = "".join(chooser.choices(string.ascii_lowercase, k=chooser.randint(4, 14)))
        lines.setdefault(word, f"otherword{len(lines)}")
    path.write_text("".join(f"{word},{replacement}\n" for word, replacement in lines.items()))
    return path
