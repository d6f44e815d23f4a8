"""Create task, with its metadata, classes, examples and versions."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "2026_11_25_0107"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "task",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200)),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("base_model", sa.String(length=200)),
        sa.Column("learner", sa.String(length=200)),
        sa.Column("prior", sa.JSON(), nullable=False),
        sa.Column("current_version", sa.Integer()),
        sa.Column("pending_version", sa.Integer()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_task"),
    )
    op.create_index("ix_task_state_id", "task", ["state", "id"])

    op.create_table(
        "task_class",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("n_examples", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_task_class_task_id_task", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_task_class"),
        sa.UniqueConstraint("task_id", "label", name="uq_task_class_task_id_label"),
    )
    op.create_table(
        "task_metadata",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=500), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_task_metadata_task_id_task", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", "key", name="pk_task_metadata"),
    )
    op.create_index("ix_task_metadata_key_value_task_id", "task_metadata", ["key", "value", "task_id"])

    op.create_table(
        "version",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("learner", sa.String(length=200), nullable=False),
        sa.Column("base_model", sa.String(length=200), nullable=False),
        sa.Column("base_model_digest", sa.String(length=64), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("support", sa.LargeBinary(), nullable=False),
        sa.Column("artifact", sa.String(length=64)),
        sa.Column("n_bytes", sa.BigInteger()),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("timings_ms", sa.JSON(), nullable=False),
        sa.Column("error", sa.JSON()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=36)),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_version_task_id_task", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_version"),
        sa.UniqueConstraint("task_id", "number", name="uq_version_task_id_number"),
    )
    op.create_index("ix_version_artifact", "version", ["artifact"])
    op.create_index("ix_version_state_id", "version", ["state", "id"])

    op.create_table(
        "example",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("class_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("filename", sa.String(length=255)),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("width_px", sa.Integer(), nullable=False),
        sa.Column("height_px", sa.Integer(), nullable=False),
        sa.Column("looks_drawn", sa.Boolean(), nullable=False),
        sa.Column("features_digest", sa.String(length=64)),
        sa.Column("features_row", sa.Integer()),
        sa.Column("features_base_model", sa.String(length=64)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["class_id"], ["task_class.id"], name="fk_example_class_id_task_class", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_example_task_id_task", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_example"),
    )
    op.create_index("ix_example_class_id", "example", ["class_id"])
    op.create_index("ix_example_digest", "example", ["digest"])
    op.create_index("ix_example_features_digest", "example", ["features_digest"])
    op.create_index("ix_example_task_id_id", "example", ["task_id", "id"])


def downgrade() -> None:
    for table in ("example", "version", "task_metadata", "task_class", "task"):
        op.drop_table(table)
