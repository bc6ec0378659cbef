"""The tables. A change here takes a migration; a test holds the two equal."""

from sqlalchemy import Column, DateTime, Float, Index, MetaData, SmallInteger, String, Table

NAMES = {"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"}
metadata = MetaData(naming_convention=NAMES)

models = Table(
    "models", metadata,
    Column("sha256", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("architecture", String(64), nullable=False),
    Column("first_served", DateTime(timezone=True), nullable=False),
)  # fmt: skip

predictions = Table(
    "predictions", metadata,
    Column("id", String(32), primary_key=True),  # ours; clients choose request ids, and may choose one twice
    Column("request_id", String(128), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("predicted", SmallInteger, nullable=False),  # index into CLASSES
    Column("probability", Float, nullable=False),  # of PNEUMONIA
    Index(None, "request_id", "at"),
    Index(None, "at"),
)  # fmt: skip

# No foreign key: feedback counts even where its prediction was lost while the database was down.
feedback = Table(
    "feedback", metadata,
    Column("prediction_id", String(32), primary_key=True),  # so each prediction is labelled once
    Column("at", DateTime(timezone=True), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("predicted", SmallInteger, nullable=False),
    Column("truth", SmallInteger, nullable=False),
    Index(None, "model_version", "at"),
    Index(None, "at"),
)  # fmt: skip
