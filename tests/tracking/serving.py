"""Servers: MLflow's own, in a process of its own, and one that always answers the same."""

import contextlib
import http.server
import os
import signal
import socket
import ssl
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
            if os.name == "nt":
                tree = ["taskkill", "/F", "/T", "/PID", str(self._process.pid)]
                subprocess.run(tree, check=False, capture_output=True)
            else:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._drain.join()
        self._process.stderr.close()


@contextlib.contextmanager
def serving(
    status=200, kind="text/html", body="<html>Sign in</html>", certificate=None, requests=None
):
    """A server that always answers the same; its port. `requests` gets what it is asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if requests is not None:
                requests.append(self)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # of clients that do not trust it
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
