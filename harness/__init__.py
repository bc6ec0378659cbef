"""A release gate for a monitored model service: load, chaos, alerts and probes in one verdict."""

__version__ = "0.1.0"
