"""What is recent, and what is old enough to go, is found without reading everything."""

from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    op.create_index("ix_predictions_at", "predictions", ["at"])
    op.create_index("ix_feedback_at", "feedback", ["at"])
