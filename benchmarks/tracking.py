"""What tracking costs: the digits recipe tracked and not, in turns, on several stores.

    python benchmarks/tracking.py --rounds 6 --trials 32 --stores sqlite

Each search is `kbn tune` in a process and a directory of its own, from its start to its end: what
it waits for the store at its end counts. The stores:

    sqlite  a database, empty: to make one takes MLflow some seconds once
    slow    MLflow's own server on it, behind a proxy that keeps each answer for two seconds
    hung    an address that takes requests and never answers
    dead    an address where nothing listens

Prints a table of the ratios tracked / not tracked over the rounds, of the wall time and of the CPU
time of the process, each as the median and its 95 % interval (bootstrapped).
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "digits_mlp.yaml"
BIN = Path(sys.executable).parent
DELAY = 2.0  # seconds of the slow server
OFF = ["tracking.enabled=false"]


def search(directory: Path, trials: int, settings: list[str]) -> np.ndarray:
    """Seconds of one search: of the wall, of the CPU."""
    command = [BIN / "kbn", "tune", RECIPE, f"search.trials={trials}", "--fresh", *settings]
    start = time.perf_counter()
    with open(directory / "told.txt", "w", encoding="utf-8") as told:  # noqa: PTH123
        process = subprocess.Popen(command, cwd=directory, stdout=told, stderr=told)  # noqa: S603
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit((directory / "told.txt").read_text())
    return np.array([wall, usage.ru_utime + usage.ru_stime])


class Slow(http.server.BaseHTTPRequestHandler):
    """Passes each request on, and its answer back two seconds later."""

    protocol_version = "HTTP/1.1"
    target = ""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = urllib.request.Request(  # noqa: S310
            self.target + self.path, body or None, dict(self.headers), method=self.command
        )
        try:
            answer = urllib.request.urlopen(asked)  # noqa: S310
        except urllib.error.HTTPError as error:
            answer = error
        content = answer.read()
        time.sleep(DELAY)
        with contextlib.suppress(OSError):  # the search has ended, and its connection
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def slow_server(directory: Path) -> Iterator[str]:
    """MLflow's server on a directory's database, behind the proxy; the address of that."""
    port = free_port()
    command = [BIN / "mlflow", "server", "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(  # noqa: S603
        [*command, "--backend-store-uri", f"sqlite:///{directory}/mlflow.db"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    Slow.target = f"http://127.0.0.1:{port}"
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{Slow.target}/health").close()  # noqa: S310
            break
        time.sleep(0.2)
    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@contextlib.contextmanager
def opened(store: str, directory: Path) -> Iterator[str]:
    """The tracking URI of a store; what it holds is in the directory's mlflow.db."""
    if store == "sqlite":
        yield f"sqlite:///{directory}/mlflow.db"
    elif store == "slow":
        with slow_server(directory) as uri:
            yield uri
    elif store == "hung":
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
    else:
        yield f"http://127.0.0.1:{free_port()}"


def told(pairs: np.ndarray) -> str:
    """A row of the table from seconds by round, tracked or not, wall or CPU: shape (n, 2, 2)."""
    ratios = pairs[:, 0] / pairs[:, 1]
    draws = np.random.default_rng(0).integers(0, len(pairs), (2000, len(pairs)))
    lows, highs = np.percentile(np.median(ratios[draws], axis=1), [2.5, 97.5], axis=0)
    cells = [
        f"{m:.3f} ({a:.3f} to {b:.3f})"
        for m, a, b in zip(np.median(ratios, axis=0), lows, highs, strict=True)
    ]
    extra = np.median(pairs[:, 0] - pairs[:, 1], axis=0)
    seconds = np.median(pairs[:, 1], axis=0)
    return " | ".join([f"{seconds[0]:.1f}", *cells, f"{extra[0]:+.1f}", f"{extra[1]:+.1f}"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--stores", nargs="+", default=["sqlite"])
    args = parser.parse_args()
    print(
        "| store | seconds untracked | wall | CPU | wall, s | CPU, s |\n|---|---|---|---|---|---|"
    )
    for store in args.stores:
        with tempfile.TemporaryDirectory() as name:
            directory, pairs = Path(name), []
            empty = directory / "empty.db"
            MlflowClient(f"sqlite:///{empty}").search_experiments()
            for number in range(args.rounds):
                shutil.copy(empty, directory / "mlflow.db")
                with opened(store, directory) as uri:
                    on = [f"tracking.uri={uri}"]
                    order = (on, OFF) if number % 2 else (OFF, on)
                    took = {s is on: search(directory, args.trials, s) for s in order}
                pairs.append([took[True], took[False]])
                print(store, number, took, file=sys.stderr, flush=True)
        print(f"| {store} | {told(np.array(pairs))} |", flush=True)


if __name__ == "__main__":
    main()
