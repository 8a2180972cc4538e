"""Pictures of values: numbers, values of classes and of steps, curves, confusion matrices. It takes matplotlib.

`look` reads what a metric says of itself; `draw` decides which picture that is; `values`, `curves` and `matrices` draw.
Figures are made without pyplot: none belongs to a window, and nothing that is global is changed.
"""

from syncmetrics.plotting.draw import draw_value, plot_collection, plot_metric
from syncmetrics.plotting.matrices import draw_matrix
from syncmetrics.plotting.style import INK
from syncmetrics.plotting.values import draw_lines

__all__ = ["INK", "draw_lines", "draw_matrix", "draw_value", "plot_collection", "plot_metric"]
