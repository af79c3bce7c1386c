"""The settings of the server and how they are read. Runs in the front process."""

from mms.server.config.address import Address
from mms.server.config.load import CommandLineOptions, Hardware, load_config, temp_directory
from mms.server.config.settings import Config
from mms.server.config.values import StartupModel, StartupModels

__all__ = [
    "Address",
    "CommandLineOptions",
    "Config",
    "Hardware",
    "StartupModel",
    "StartupModels",
    "load_config",
    "temp_directory",
]
