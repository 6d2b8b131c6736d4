"""T15: every call by which a job changes a file fails once, in each of the ways a disk fails."""

from __future__ import annotations

import errno
from typing import Any

from faults import Line, begin, complete, create, ended
from storage import How, Storage

DATA = bytes(range(256)) * 1200
WAYS: dict[str, tuple[How, int]] = {
    "EIO": ("error", errno.EIO),
    "ENOSPC": ("error", errno.ENOSPC),
    "short write": ("short", 0),
    "failing fsync": ("sync", errno.EIO),
}


def one_job(node: Any, configuration: str) -> str:
    """A job by way of an upload in two pieces, and one in a form, to their ends; what came of them.

    Whatever the node says must be true: a success is the right output, anything else says so.
    """
    said = []
    path = number = ""
    try:
        path = create(node, len(DATA), DATA[:1000])
        job = begin(node, configuration=configuration, upload=path)
        number = job.json["id"] if job.status == 201 else ""
        complete(node, path, DATA)
    except AssertionError as error:
        # A refused piece; what the node answered is the error's text.
        said.append(f"refused: {error}"[:300])
        if number:
            complete(node, path, DATA)
    if number:
        said.append(outcome(node, number, "/v2/jobs/{}/result"))
    sent = node.post("/v1.0/process/", {"configuration": configuration}, DATA)
    if sent.status == 200:
        said.append(outcome(node, sent.json["id"], "/v1.0/process/{}/datafileresult"))
    else:
        said.append(refused(sent))
    if path:
        node.request("DELETE", path)
    return "; ".join(said)


def outcome(node: Any, number: str, result: str) -> str:
    record = ended(node, number)
    if record["progress"]["state"] == "succeeded":
        answer = node.get(result.format(number))
        assert answer.status != 200 or answer.body == DATA, "a wrong output was given out as right"
        # The row was written, and what it promises is there.
        assert answer.status == 200, answer.body
    else:
        assert record["failure"]["detail"], record
    deleted = node.request("DELETE", f"/v2/jobs/{number}")
    assert deleted.status in (204, 500, 507), deleted.body
    if deleted.status != 204:
        assert node.request("DELETE", f"/v2/jobs/{number}").status == 204
    return str(record["progress"]["state"])


def refused(answer: Any) -> str:
    assert answer.status in (400, 500, 507), answer.body
    assert answer.json["detail"], answer.json
    return f"refused {answer.status}"


def fail_every_call(nodes: Any, storage: Storage, way: str, every: int = 1) -> Line:
    """Fail the first, second, ... call of a job in that ``way``, each time in a new job of one node."""
    line = Line(f"{way} at storage call 1..N of a job")
    nodes.environment.update(storage.environment)
    node = nodes("--auth", "none", "--slots", "1", "--accelerator", "test_copy", state=nodes.folder / "state")
    configuration = node.configure("test_copy")["url"]
    assert one_job(node, configuration) == "succeeded; succeeded"
    how, error = WAYS[way]
    number = 0
    while True:
        number += 1 if number < 3 else every
        failed = storage.failed
        storage.fail(number, how, error)
        said = one_job(node, configuration)
        storage.forgive()
        if storage.failed == failed:
            break
        alive = node.process.poll() is None
        good = alive and one_job(node, configuration) == "succeeded; succeeded"
        line.count(good)
        assert good, (number, said, node.log[-3000:])
    assert node.end() == 0
    # A file that could not be removed then is removed now.
    again = nodes("--auth", "none", "--slots", "1", state=node.state)
    assert again.spool() == [], again.spool()
    return line
