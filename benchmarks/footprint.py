"""Memory and disk of a search of many trained and tracked trials.

    python benchmarks/footprint.py --trials 200

Runs a shipped recipe with so many trials, in a process and a directory of its own each: once with
the checkpoints of the 3 best trials kept, once with those of all. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = 50  # trials between two looks at the memory
DEFAULT_KEEP = 3


def resident() -> float:
    """MiB of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def size(directory: Path) -> float:
    """MiB of all files below a directory."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) / 2**20


def search(recipe: str, trials: int, epochs: int, keep: int) -> dict[str, list[float]]:
    """Run the search in the working directory; return its memory after each block, and its disk."""
    import kbn
    from kbn.run.watch import Watch

    memories: list[float] = []
    count = itertools.count(1)

    class Memory(Watch):
        """Notes the memory after each block of trials."""

        def ended(self, attempt: object) -> None:
            if next(count) % BLOCK == 0:
                memories.append(resident())

    changes = [f"search.trials={trials}", f"search.epochs={epochs}", f"search.keep={keep}"]
    kbn.tune(kbn.load_recipe(recipe, changes), watch=Memory())
    return {"memory": memories, "disk": [size(Path("searches"))]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="digits_mlp")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--keep", type=int, help=argparse.SUPPRESS)  # of a search in this process
    asked = parser.parse_args()
    if asked.keep:
        found = search(asked.recipe, asked.trials, asked.epochs, asked.keep)
        Path("found.json").write_text(json.dumps(found), "utf-8")
        return
    blocks = [BLOCK * (index + 1) for index in range(asked.trials // BLOCK)]
    print("| checkpoints kept |", *(f"MiB after {n} |" for n in blocks), "searches/, MiB |")
    print("|---" * (len(blocks) + 2) + "|")
    for keep in (DEFAULT_KEEP, asked.trials):
        with tempfile.TemporaryDirectory() as directory:
            command = [sys.executable, str(Path(__file__).resolve()), f"--keep={keep}"]
            options = [
                f"--{name}={getattr(asked, name)}" for name in ("recipe", "trials", "epochs")
            ]
            subprocess.run([*command, *options], cwd=directory, check=True)  # noqa: S603
            found = json.loads((Path(directory) / "found.json").read_text("utf-8"))
        print(
            f"| {keep} |", *(f"{mib:.0f} |" for mib in found["memory"]), f"{found['disk'][0]:.1f} |"
        )


if __name__ == "__main__":
    main()
