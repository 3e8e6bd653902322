"""A PostgreSQL of a test's own, reached by a socket in its folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from debian import environment, find

USER = "trident"
SECONDS = 60.0


class PostgreSQL:
    """A server on an empty database; a context manager. It can be restarted within.

    Attributes:
        url: of its database, as SQLAlchemy has it.
    """

    def __init__(self) -> None:
        # Not in the test's own folder: nobody else may look in there, and the path of a socket is to be short.
        self._folder = Path(tempfile.mkdtemp(prefix="trident-postgresql-"))
        self._log = (self._folder / "log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://{USER}@/postgres?host={self._folder}"

    def __enter__(self) -> PostgreSQL:
        if os.getuid() == 0:
            shutil.chown(self._folder, "nobody")
        try:
            settings = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", f"--username={USER}"]
            self._run("initdb", *settings, "--pgdata", self._folder / "data").check_returncode()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()
        self._log.close()
        shutil.rmtree(self._folder)

    def restart(self) -> None:
        """Break every connection, and be there again."""
        self._stop()
        self._start()

    def _start(self) -> None:
        # Memory that processes share lies in its folder, none in the machine's.
        settings = {"listen_addresses": "", "unix_socket_directories": self._folder, "fsync": "off"}
        settings |= {"dynamic_shared_memory_type": "mmap", "shared_memory_type": "mmap"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._process = subprocess.Popen(**self._command("postgres", "-D", self._folder / "data", *options))
        deadline = time.monotonic() + SECONDS
        while self._run("pg_isready", "--quiet", "--host", self._folder).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()}")
            time.sleep(0.05)

    def _stop(self) -> None:
        if self._process is not None:
            # With connections open, too.
            self._process.send_signal(signal.SIGINT)
            self._process.wait(SECONDS)
            self._process = None

    def _run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(**self._command(program, *arguments))

    def _command(self, program: str, *arguments: str | Path) -> dict[str, object]:
        found = find(program, "postgresql")
        command = [found, *arguments]
        if os.getuid() == 0:
            # It refuses to be run by root.
            command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
        output = {"stdout": self._log, "stderr": subprocess.STDOUT}
        return {"args": command, "env": environment(found), "cwd": self._folder, **output}
