"""The table: every row of every file, in the order to read them. A new file of rows is added here."""

from . import (
    machines as machines,  # the law of backends asks them too
    rows_activation,
    rows_conv,
    rows_elementwise,
    rows_linalg,
    rows_loss,
    rows_movement,
    rows_norm,
    rows_pool,
    rows_reduce,
    rows_resample,
)

TABLE = [
    *rows_elementwise.rows,
    *rows_reduce.rows,
    *rows_movement.rows,
    *rows_linalg.rows,
    *rows_activation.rows,
    *rows_norm.rows,
    *rows_loss.rows,
    *rows_conv.rows,
    *rows_pool.rows,
    *rows_resample.rows,
]
