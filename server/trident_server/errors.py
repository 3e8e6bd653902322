"""What can go wrong between ``trident-serve`` and a ready Triton.

::

    ServerError
    ├── UnsupportedPlatformError   the wheel's tritonserver cannot run here; says why and names the container route
    ├── RepositoryError            the model repository is missing, or its models are not built
    ├── PathError                  a path that Triton's Python backend cannot work with
    ├── FileError                  the file system refuses what must be written or read; names path and reason
    ├── CompilationError           backends cannot be compiled for Triton's process; says what is missing
    ├── AddressError               a host or port that cannot be bound, or was given twice
    │   └── PortInUseError         a port is taken; names it, its holder and the setting that changes it
    ├── AlreadyRunningError        another trident-serve uses the same run-time directory
    ├── NotRunningError            there is no server to stop
    ├── ExchangeError              a set of models is not exchanged; the one before serves on
    └── ChildError                 a process that was started did not do what it should
        ├── ServerStartError       Triton or the facade exited or was late; carries the log lines that say why
        └── ServerDiedError        Triton or the facade exited while it served; carries the log lines that say why
"""


class ServerError(Exception):
    """Base of every error this package raises; its text is meant for the person at the terminal."""


class UnsupportedPlatformError(ServerError):
    """The embedded tritonserver cannot run on this machine."""


class RepositoryError(ServerError):
    """The model repository is missing or incomplete."""


class PathError(ServerError):
    """A path that Triton's Python backend cannot work with."""


class FileError(ServerError):
    """The file system does not let a file be written or read."""


class CompilationError(ServerError):
    """Backends cannot be compiled on this machine."""


class AddressError(ServerError):
    """A host or port that the server cannot bind."""


class PortInUseError(AddressError):
    """A port that the server needs is already taken."""


class AlreadyRunningError(ServerError):
    """Another trident-serve holds the run-time directory."""


class NotRunningError(ServerError):
    """No server of ours runs."""


class ExchangeError(ServerError):
    """A set of models is not exchanged; the one before serves on."""


class ChildError(ServerError):
    """A child process failed."""


class ServerStartError(ChildError):
    """A child process did not become ready."""


class ServerDiedError(ChildError):
    """A child process exited while it served."""
