"""MLflow's own server, in a process of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Server:
    """Serves a store, from when it is made until it is killed."""

    def __init__(self, store: str, port: int):
        self.uri = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
        command += ["--port", str(port), "--workers", "1", "--artifacts-destination", "artifacts"]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
        for line in self._process.stderr:  # until it tells that it listens
            if b"startup complete" in line:
                break
        self._drain = threading.Thread(target=self._process.stderr.read)
        self._drain.start()

    def kill(self) -> None:
        """With all the processes that it started; twice is as once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._drain.join()
        self._process.stderr.close()
