"""What can go wrong between ``trident-serve`` and a ready Triton.

::

    ServerError
    ├── UnsupportedPlatformError   the wheel's tritonserver cannot run here; says why and names the container route
    ├── RepositoryError            the model repository is missing, or its models are not built
    ├── PortInUseError             a port is taken; names it, its holder and the setting that changes it
    ├── StartError                 Triton exited, or was not ready by the deadline; carries the log lines that say why
    └── NotRunningError            there is no server to stop
"""


class ServerError(Exception):
    """Base of every error this package raises; its text is meant for the person at the terminal."""


class UnsupportedPlatformError(ServerError):
    """The embedded tritonserver cannot run on this machine."""


class RepositoryError(ServerError):
    """The model repository is missing or incomplete."""


class PortInUseError(ServerError):
    """A port that the server needs is already taken."""


class StartError(ServerError):
    """Triton did not become ready."""


class NotRunningError(ServerError):
    """No server of ours runs."""
