"""Add the group of an example: what must not be parted when examples are held out."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "2026_11_25_1055"
down_revision: str | None = "2026_11_25_1020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("example", sa.Column("group_name", sa.String(length=200)))


def downgrade() -> None:
    op.drop_column("example", "group_name")
