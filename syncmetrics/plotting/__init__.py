"""Pictures of values that are no numbers: confusion matrices, curves, values of classes. It takes matplotlib."""

from syncmetrics.plotting.draw import INK, draw_matrix, draw_value

__all__ = ["INK", "draw_matrix", "draw_value"]
