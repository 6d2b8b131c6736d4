"""What one request with several small inputs may have."""

from __future__ import annotations

MOST_JOBS = 16
# Of one input; more goes by a request of its own.
INPUT_BYTES = 1 << 20
# Of the whole body, with the heads of its parts.
BODY_BYTES = 4 << 20
