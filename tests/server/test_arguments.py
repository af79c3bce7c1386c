"""What the launcher tells the server."""

import pytest

from mms.server.arguments import ServerArguments
from mms.server.config import CommandLineOptions


@pytest.mark.parametrize(
    "options",
    [
        CommandLineOptions(),
        CommandLineOptions(mms_config="a b", model_store="/s=1", models=("m=x.mar", "http://h/?a=b"), log_config="l"),
    ],
)
def test_server_reads_what_the_launcher_writes(options: CommandLineOptions) -> None:
    arguments = ["--shutdown-timeout=30", "--ready-fd=5", *ServerArguments(options).to_list()]
    assert ServerArguments.from_list(arguments) == ServerArguments(options, 5)
    assert ServerArguments.from_list(ServerArguments(options).to_list()).ready_fd is None
