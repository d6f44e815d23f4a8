"""The statement that says where the features of examples are stored."""

from sqlalchemy import bindparam, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.persistence.orm import Example
from service.persistence.records import StoredFeatures


async def store_features(session: AsyncSession, features: StoredFeatures) -> None:
    """Name the features in the examples' rows; those that were deleted meanwhile are passed over."""
    connection = await session.connection()
    table = Example.__table__
    await connection.execute(
        update(Example)
        .where(table.c.id == bindparam("example_id"))
        .values(
            features_digest=features.digest,
            features_row=bindparam("row"),
            features_base_model=features.base_model_digest,
        ),
        [{"example_id": id_, "row": row} for row, id_ in enumerate(features.example_ids)],
    )
