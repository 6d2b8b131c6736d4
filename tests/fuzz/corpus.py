"""A corpus file of ``axonerve_hyperfire``, then the same bytes as a text to work on."""

from __future__ import annotations

import re

from acceleratorAPI.native._kernels import CorpusError, WordReplacer

ALLOWED = (CorpusError,)
SEEDS = (
    b"cat,dog\nnew york,NYC\nnew,old\n",
    b"\xef\xbb\xbfa,1,2\r\nb,\r\nc\rd,3\nlast,4",
    b"'tis,1\ncaf\xc3\xa9,2\nCaf\xc3\x89,3\n-,4\n",
    b"x" * 16 + b"," + b"y" * 24 + b"\n" + b"x" * 17 + b"," + b"y" * 25 + b"\n" + b"x" * 40 + b" tail,z\n",
    b"a a,1\na a a,2\na,3\na a a a a\n",
    b"Word,1\nword,2\n",
)


def run(data: bytes) -> None:
    """Cut anywhere it says, a text is replaced as in one piece, and each word found is where it is said to be."""
    for ignore_case in (True, False):
        replacer = WordReplacer(data, ignore_case)
        counts = replacer.counts()
        whole, replaced = replacer.replace(data, 0, counts)
        lines, found = replacer.find(data, 0, 0)
        assert replaced == found == sum(count for _, count in counts.most_frequent(1 << 30)[0])
        for line in bytes(lines).splitlines(keepends=True) if b"\r" not in data else ():
            match = re.fullmatch(rb"(\d+):(.+)\n", line, re.DOTALL)
            if match is None:
                continue  # a word that holds a line separator of Python's
            assert data[int(match[1]) :].startswith(match[2])
        size = 2 * replacer.longest_word + 2
        if len(data) > size:
            cut = replacer.cut(data[:size], 0)
            assert 0 < cut <= size
            first, rest = replacer.replace(data[:cut], 0)[0], replacer.replace(data[cut - 1 :], 1)[0]
            assert bytes(first) + bytes(rest) == bytes(whole)
