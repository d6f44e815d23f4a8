"""Add how far the adaptation of a version is."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "2026_11_25_1000"
down_revision: str | None = "2026_11_25_0936"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("version", sa.Column("progress", sa.Double()))


def downgrade() -> None:
    op.drop_column("version", "progress")
