"""What the launcher tells the server: the arguments of the server's command line. Both import it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mms.server.config import CommandLineOptions

SHUTDOWN_OPTION: Final = "--shutdown-timeout="
READY_OPTION: Final = "--ready-fd="
READY: Final = b"ready"
FAILED: Final = b"failed"
"""What the server writes to that descriptor, once."""


@dataclass(frozen=True)
class ServerArguments:
    """What the launcher tells the server."""

    options: CommandLineOptions
    ready_fd: int | None = None
    """Descriptor of the pipe at which the launcher waits."""

    def to_list(self) -> list[str]:
        """Return them as command line; `ready_fd` is added by whoever makes the pipe."""
        options = self.options
        values = {
            "--mms-config": options.mms_config,
            "--model-store": options.model_store,
            "--log-config": options.log_config,
        }
        single = [f"{name}={value}" for name, value in values.items() if value is not None]
        return single + [f"--models={model}" for model in options.models]

    @classmethod
    def from_list(cls, arguments: Sequence[str]) -> "ServerArguments":
        """Read what `to_list` wrote; what is not known is ignored."""
        values: dict[str, str] = {}
        models: list[str] = []
        for argument in arguments:
            name, _, value = argument.partition("=")
            if name == "--models":
                models.append(value)
            else:
                values[name] = value
        ready = values.get(READY_OPTION.rstrip("="))
        options = CommandLineOptions(
            mms_config=values.get("--mms-config"),
            model_store=values.get("--model-store"),
            log_config=values.get("--log-config"),
            models=tuple(models),
        )
        return cls(options, int(ready) if ready else None)
