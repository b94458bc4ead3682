"""One drawing as two files: a PNG for the run's folder, an SVG for the page."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modeltest.reports.performance.palette import INK, LINE, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE_INCHES = (7.4, 4.3)
_DPI = 120
_SIDE_INCHES = 0.1  # a browser's font may be a little larger


def figure_files(
    name: str, title: str, subtitle: str, draw: Callable[[Axes], None]
) -> tuple[bytes, bytes]:
    """Draws once and returns the PNG and the SVG; the same drawing gives the same bytes.

    Args:
        name: Of the plot; ids in the SVG depend on it.
        title: Heading.
        subtitle: Small, below it.
        draw: Fills the axes.
    """
    with _own_style(name):
        figure = _figure()
        axes = figure.add_subplot()
        axes.grid(True, color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        axes.set_title(subtitle, loc="left", fontsize=9, color=SOFT)
        png, svg = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png", metadata={"Software": None})
        # The page's own ground shines through.
        figure.savefig(svg, format="svg", metadata={"Date": None}, transparent=True)
    return png.getvalue(), svg.getvalue()


def _figure() -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI)
    figure.set_layout_engine("constrained", w_pad=_SIDE_INCHES)
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def _own_style(name: str) -> Iterator[None]:
    """The library's defaults with our colours, whatever style this machine's user has set.

    Names may hold what matplotlib takes for mathematics, so nothing is.
    """
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rc("text", color=INK, parse_math=False)
        mpl.rc("axes", edgecolor=SOFT, labelcolor=INK)
        mpl.rc("xtick", color=INK)
        mpl.rc("ytick", color=INK)
        mpl.rc("svg", fonttype="none", hashsalt=name)
        yield
