"""Pictures of values: numbers, values of classes and of steps, curves, confusion matrices. It takes matplotlib.

`look` reads what a metric says of itself; `draw` decides which picture that is; `values`, `curves` and `matrices` draw.
Figures are made without pyplot: none belongs to a window, and nothing that is global is changed.
"""

from syncmetrics.plotting.draw import draw_value, is_picture, plot_collection, plot_metric
from syncmetrics.plotting.matrices import draw_matrix
from syncmetrics.plotting.style import Panel, paint
from syncmetrics.plotting.values import draw_lines

__all__ = ["Panel", "draw_lines", "draw_matrix", "draw_value", "is_picture", "paint", "plot_collection", "plot_metric"]
