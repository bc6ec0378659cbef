"""Predictions, feedback and the models that made them."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("architecture", sa.String(64), nullable=False),
        sa.Column("first_served", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("predicted", sa.SmallInteger, nullable=False),
        sa.Column("probability", sa.Float, nullable=False),
    )
    op.create_index("ix_predictions_request_id_at", "predictions", ["request_id", "at"])
    op.create_table(
        "feedback",
        sa.Column("prediction_id", sa.String(32), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("predicted", sa.SmallInteger, nullable=False),
        sa.Column("truth", sa.SmallInteger, nullable=False),
    )
