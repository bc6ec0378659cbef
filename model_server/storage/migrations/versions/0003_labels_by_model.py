"""The latest labels of one model are found without reading those of all others."""

from alembic import op

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    op.create_index("ix_feedback_model_version_at", "feedback", ["model_version", "at"])
