"""Configuration: TOML with environment overrides, checked as a whole, secrets by reference only."""

from mirror.config.load import load_config, parse_config
from mirror.config.model import (
    ClusterConfig,
    Config,
    ObjectivesConfig,
    Origin,
    PricesConfig,
    RepositoryConfig,
    SaslConfig,
    SslConfig,
    WorkerConfig,
)
from mirror.config.secrets import Secret

__all__ = [
    "ClusterConfig",
    "Config",
    "ObjectivesConfig",
    "Origin",
    "PricesConfig",
    "RepositoryConfig",
    "SaslConfig",
    "Secret",
    "SslConfig",
    "WorkerConfig",
    "load_config",
    "parse_config",
]
