"""Replace the words of a text, then find them: two modes of one function.

Run it with ``python examples/axonerve_hyperfire.py``.
"""

from __future__ import annotations

from acceleratorAPI import Accelerator

CORPUS = b"cat,dog\nnew york,New York City\n"
TEXT = b"The Cat moved to New York; the category stayed.\n"

with Accelerator("axonerve_hyperfire") as accelerator:
    accelerator.start(CORPUS, ignore_case=True)
    replaced = accelerator.process(TEXT, counts=True)
    print(replaced.data.decode(), end="")
    for word, count in replaced.specific["counts"]:
        print(f"{count} x {word}")
    found = accelerator.process(TEXT, mode="find")
    print(found.data.decode(), end="")
