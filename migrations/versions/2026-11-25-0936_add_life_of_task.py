"""Add what the life of a task needs: its threshold, what it keeps and for how long; where an example comes from."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "2026_11_25_0936"
down_revision: str | None = "2026_11_25_0402"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("task", sa.Column("threshold", sa.Double()))
    op.add_column("task", sa.Column("store", sa.String(length=16), nullable=False, server_default="images"))
    op.add_column("task", sa.Column("expires_at", sa.DateTime(timezone=True)))
    op.create_index("ix_task_expires_at", "task", ["expires_at"])
    op.add_column("example", sa.Column("source", sa.String(length=16), nullable=False, server_default="upload"))
    with op.batch_alter_table("example") as example:
        example.alter_column("digest", existing_type=sa.String(length=64), nullable=True)


def downgrade() -> None:
    op.execute("DELETE FROM example WHERE digest IS NULL")
    with op.batch_alter_table("example") as example:
        example.alter_column("digest", existing_type=sa.String(length=64), nullable=False)
    op.drop_column("example", "source")
    op.drop_index("ix_task_expires_at", "task")
    op.drop_column("task", "expires_at")
    op.drop_column("task", "store")
    op.drop_column("task", "threshold")
