"""What can be set, by flag or by environment variable (MODEL_SERVER_MAX_BATCH for --max-batch, and so on)."""

# ruff: noqa: RUF009 - `_setting` gives a dataclass field
from __future__ import annotations

import argparse
import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_server.inference.images import MAX_PIXELS

PREFIX = "MODEL_SERVER_"
DATABASE = re.compile(r"$|off$|sqlite:///|postgres(ql)?(\+psycopg)?://")
AUDIT_KEY = PREFIX + "AUDIT_KEY"
WEIGHTS = Path(__file__).parent / "weights" / "small-cnn.safetensors"


def _setting(default: Any, about: str) -> Any:
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True)
class Settings:
    """How the server runs. Every field is a flag."""

    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(8000, "port to listen on; 0 takes a free one")
    stop_after_s: float = _setting(0.0, "after SIGTERM it goes on answering, not ready, for so long")
    weights: Path = _setting(WEIGHTS, "safetensors file with its model card beside it")
    weights_sha256: str = _setting("", "SHA-256 the weights must have; empty: the one on their model card")
    device: str = _setting("auto", "cpu, cuda, or auto: CUDA where there is some")
    precision: str = _setting("fp16", "on CUDA: fp16, bf16 (a wider range, 8 times coarser) or fp32")
    max_batch: int = _setting(32, "requests inferred together at most")
    max_wait_ms: float = _setting(2.0, "longest a request waits for others to join its batch; on one core for none")
    max_queue: int = _setting(128, "requests admitted and not yet answered; one more is answered 503 at once")
    decode_threads: int = _setting(
        -1, "threads that decode images; 0: the inference thread does it; -1: one where there is a second core, else 0"
    )
    torch_threads: int = _setting(1, "threads of one inference")
    deadline_s: float = _setting(
        10.0, "longest a request may take; then it is answered 504 (408 while its head or body comes)"
    )
    wedged_after_s: float = _setting(5.0, "work waiting and none done for so long means not live")
    unready_after_failures: int = _setting(3, "so many failed batches in a row mean not ready")
    dead_after_failures: int = _setting(10, "so many in a row, of a known image too, mean not live")
    canary_every_s: float = _setting(10.0, "an idle model is asked a known image that often; a failed one each second")
    max_body_bytes: int = _setting(16 << 20, "largest request body")
    max_held_bytes: int = _setting(256 << 20, "bytes of bodies held at once; one more is answered 503")
    max_head_bytes: int = _setting(32 << 10, "largest request line and headers; more is answered 431")
    max_pixels: int = _setting(MAX_PIXELS, "most pixels of an image; checked before it is decoded")
    auth: str = _setting("on", "on, or off: everybody may do everything; for local use only")
    keys: Path = _setting(Path("keys.json"), "file of API keys; `python -m model_server.keys` makes it")
    rate_limit: float = _setting(2000.0, "requests a second that one API key may send, unless its entry says otherwise")
    state_dir: str = _setting("", "folder for the audit log and the SQLite database; without it a temporary one")
    database: str = _setting("", "postgresql://... or sqlite:///FILE (default: SQLite in the state folder), or off")
    max_records: int = _setting(20_000, "records that wait while the database is down; more are lost and counted")
    audit: str = _setting("on", "on or off; the log is audit.jsonl in the state folder")
    audit_key_file: str = _setting("", f"file with the audit log's key (else ${AUDIT_KEY}, else made beside the log)")
    answer_within_s: float = _setting(5.0, "a database or disk that is silent for longer makes the service not ready")
    commit: str = _setting("unknown", "the commit this was built from, for build_info")
    environment: str = _setting("local", "where this runs, for deployment_info")
    deployment: str = _setting("none", "the deployment that brought it there, for deployment_info")
    metrics: str = _setting("on", "on or off; without metrics, /metrics is 404")
    log_level: str = _setting("INFO", "DEBUG, INFO, WARN, ERROR or OFF")
    otlp_endpoint: str = _setting(
        "", "base URL of an OTLP/HTTP collector; else OTEL_EXPORTER_OTLP_ENDPOINT; without either nothing is traced"
    )
    trace_ratio: float = _setting(0.1, "share of requests traced, where the caller has not decided")


def read(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from flags, else the environment, else the defaults. A wrong one ends the process with a message."""
    parser = argparse.ArgumentParser(
        prog="python -m model_server",
        description="Serves the pneumonia classifier.",
        epilog=f"Each flag is also an environment variable: {PREFIX}MAX_BATCH for --max-batch, and so on.",
    )
    for setting in dataclasses.fields(Settings):
        kind = type(setting.default) if not isinstance(setting.default, Path) else Path
        parser.add_argument(
            "--" + setting.name.replace("_", "-"),
            type=kind,  # argparse converts a string default too, so the environment is checked like a flag
            default=environ.get(PREFIX + setting.name.upper(), setting.default),
            help=f"{setting.metadata['about']} (default: {setting.default})",
        )
    settings = Settings(**vars(parser.parse_args(argv)))
    for name in (
        "max_batch", "max_queue", "torch_threads", "max_body_bytes", "max_held_bytes",
        "max_head_bytes", "max_pixels", "max_records", "unready_after_failures", "dead_after_failures",
    ):  # fmt: skip
        if getattr(settings, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: must be at least 1, got {getattr(settings, name)}")
    if settings.decode_threads < -1:
        parser.error(f"--decode-threads: must be at least -1, got {settings.decode_threads}")
    for name in ("deadline_s", "wedged_after_s", "canary_every_s", "answer_within_s", "rate_limit"):
        if not 0 < getattr(settings, name) < math.inf:
            parser.error(f"--{name.replace('_', '-')}: must be positive, got {getattr(settings, name)}")
    for name in ("max_wait_ms", "stop_after_s"):
        if not 0 <= getattr(settings, name) < math.inf:
            parser.error(f"--{name.replace('_', '-')}: must be 0 or more, got {getattr(settings, name)}")
    if not 0 <= settings.port < 1 << 16:
        parser.error(f"--port: must be from 0 to 65535, got {settings.port}")
    if settings.device not in ("auto", "cpu", "cuda"):
        parser.error(f"--device: must be auto, cpu or cuda, got {settings.device!r}")
    if settings.precision not in ("fp16", "bf16", "fp32"):
        parser.error(f"--precision: must be fp16, bf16 or fp32, got {settings.precision!r}")
    if settings.log_level not in ("DEBUG", "INFO", "WARN", "ERROR", "OFF"):
        parser.error(f"--log-level: must be DEBUG, INFO, WARN, ERROR or OFF, got {settings.log_level!r}")
    for name in ("auth", "audit", "metrics"):
        if getattr(settings, name) not in ("on", "off"):
            parser.error(f"--{name}: must be on or off, got {getattr(settings, name)!r}")
    if not DATABASE.match(settings.database):  # not shown: it may hold a password
        parser.error("--database: must begin with postgresql:// or sqlite:///, or be off")
    if not 0 <= settings.trace_ratio <= 1:
        parser.error(f"--trace-ratio: must be from 0 to 1, got {settings.trace_ratio}")
    if settings.otlp_endpoint and not settings.otlp_endpoint.startswith(("http://", "https://")):
        parser.error(f"--otlp-endpoint: must be an http:// or https:// URL, got {settings.otlp_endpoint!r}")
    return settings
