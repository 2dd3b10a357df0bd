"""The table: every row of every file, in the order to read them. A new file of rows is added here."""

from . import rows_elementwise

TABLE = [*rows_elementwise.rows]
