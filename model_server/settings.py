"""What can be set, by flag or by environment variable."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

PREFIX = "MODEL_SERVER_"
AUDIT_KEY = PREFIX + "AUDIT_KEY"
WEIGHTS = Path(__file__).parent / "weights" / "small-cnn.safetensors"
MAX_PIXELS = 40_000_000  # a large detector has 25 million; a decompression bomb has more
DATABASE = r"^$|^off$|^sqlite:///.|^postgres(ql)?(\+psycopg)?://"

OnOff = Literal["on", "off"]
Count = Annotated[int, Field(ge=1)]
LONGEST_S = 1e6  # eleven days: timers take no time without end
Seconds = Annotated[float, Field(gt=0, le=LONGEST_S)]


def _set(default: Any, about: str, **bounds: Any) -> Any:
    return Field(default, description=about, **bounds)


class Settings(BaseSettings):
    """Serves the pneumonia classifier. Each flag is also an environment variable: MODEL_SERVER_MAX_BATCH for
    --max-batch, and so on."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, str_strip_whitespace=True, frozen=True, extra="forbid",
        allow_inf_nan=False, hide_input_in_errors=True, cli_prog_name="python -m model_server", cli_kebab_case=True,
        cli_avoid_json=True,
    )  # fmt: skip

    host: str = _set("127.0.0.1", "address to listen on", min_length=1)
    port: int = _set(8000, "port to listen on; 0 takes a free one", ge=0, lt=1 << 16)
    stop_after_s: float = _set(0.0, "after SIGTERM it goes on answering, not ready, for so long", ge=0, le=LONGEST_S)
    weights: Path = _set(WEIGHTS, "safetensors file with its model card beside it")
    weights_sha256: str = _set("", "SHA-256 the weights must have; empty: the one on their model card")
    device: Literal["auto", "cpu", "cuda"] = _set("auto", "cpu, cuda, or auto: CUDA where there is some")
    precision: Literal["fp16", "bf16", "fp32"] = _set("fp16", "on CUDA: fp16, bf16 (8 times coarser) or fp32")
    max_batch: Count = _set(32, "requests inferred together at most")
    max_wait_ms: float = _set(2.0, "longest a request waits for others to join its batch", ge=0, le=1000 * LONGEST_S)
    max_queue: Count = _set(128, "requests admitted and not yet answered; one more is answered 503 at once")
    decode_threads: Count = _set(1, "threads that decode images")
    torch_threads: Count = _set(1, "threads of one inference")
    deadline_s: Seconds = _set(10.0, "longest a request may take; then it is 504 (408 while its head or body comes)")
    wedged_after_s: Seconds = _set(5.0, "work waiting and none done for so long means not live")
    unready_after_failures: Count = _set(3, "so many failed batches in a row mean not ready")
    dead_after_failures: Count = _set(10, "so many in a row, of a known image too, mean not live")
    canary_every_s: Seconds = _set(10.0, "an idle model is asked a known image that often; a failed one each second")
    max_body_bytes: Count = _set(16 << 20, "largest request body")
    max_held_bytes: Count = _set(256 << 20, "bytes of bodies held at once; one more is answered 503")
    max_head_bytes: Count = _set(32 << 10, "largest request line and headers; more is answered 431")
    max_connections: Count = _set(1000, "open connections; of more, those are closed first that wait for their clients")
    max_pixels: Count = _set(MAX_PIXELS, "most pixels of an image; checked before it is decoded")
    auth: OnOff = _set("on", "on, or off: everybody may do everything; for local use only")
    keys: Path = _set(Path("keys.json"), "file of API keys; `python -m model_server.keys` makes it")
    rate_limit: Seconds = _set(2000.0, "requests a second that one API key may send, unless its entry says otherwise")
    state_dir: str = _set("", "folder for the audit log and the SQLite database; without it a temporary one")
    database: str = _set(
        "", "postgresql://..., sqlite:///FILE (default: in the state folder), or off", pattern=DATABASE
    )
    max_records: Count = _set(20_000, "records that wait while the database is down; more are lost and counted")
    audit: OnOff = _set("on", "on or off; the log is audit.jsonl in the state folder")
    audit_key_file: str = _set("", f"file with the audit log's key (else ${AUDIT_KEY}, else made beside the log)")
    answer_within_s: Seconds = _set(5.0, "a database or disk that is silent for longer makes the service not ready")
    commit: str = _set("unknown", "the commit this was built from, for build_info")
    environment: str = _set("local", "where this runs, for deployment_info")
    deployment: str = _set("none", "tells deployments side by side apart: in deployment_info, log lines and traces")
    metrics: OnOff = _set("on", "on or off; without metrics, /metrics is 404")
    log_level: Literal["DEBUG", "INFO", "WARN", "ERROR", "OFF"] = _set("INFO", "DEBUG, INFO, WARN, ERROR or OFF")
    otlp_endpoint: str = _set(
        "", "URL of an OTLP/HTTP collector, or OTEL_EXPORTER_OTLP_ENDPOINT; else no traces", pattern="^$|^https?://"
    )
    trace_ratio: float = _set(0.1, "share of requests traced, where the caller has not decided", ge=0, le=1)


def unknown() -> list[str]:
    """Variables that look like a setting and are none: a name mistyped, or of somebody else."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {AUDIT_KEY}
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)


def read(argv: Sequence[str] | None = None) -> Settings:
    """Settings from flags, else the environment, else the defaults. Wrong ones end the process with exit code 2 and a
    line for each; their values are not shown, for one may hold a password. White space around a variable's value comes
    from a file or a shell, and means nothing; an empty one is as none. OpenTelemetry's SDK finds its own like that."""
    for name in os.environ:
        if name.upper().startswith((PREFIX, "OTEL_")):
            os.environ[name] = os.environ[name].strip()
    try:
        return CliApp.run(Settings, None if argv is None else list(argv))
    except ValidationError as wrong:
        print("\n".join(map(_told, wrong.errors())), file=sys.stderr)
        sys.exit(2)


def _told(error: ErrorDetails) -> str:
    name = error["loc"][0]
    is_pattern = error["type"] == "string_pattern_mismatch"  # which is no sentence
    about = f"not {Settings.model_fields[name].description}" if is_pattern else error["msg"]
    return f"--{name.replace('_', '-')}: {about}"
