"""Configuration: `schema.py` declares the options, `load` reads them, `rendering.py` prints."""

from homeserver.config.options import ConfigError
from homeserver.config.reading import load
from homeserver.config.schema import Config

__all__ = ["Config", "ConfigError", "load"]
