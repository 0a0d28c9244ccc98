"""What tests of several packages ask of other processes."""

import os
import select


def ends(pid, seconds=60):
    """Whether a process ends in that time."""
    try:
        return bool(select.select([os.pidfd_open(pid)], [], [], seconds)[0])
    except ProcessLookupError:
        return True
