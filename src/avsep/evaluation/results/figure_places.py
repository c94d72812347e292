"""Where the parts of a qualitative figure stand, in inches, as a printed page has them."""

from collections.abc import Sequence
from dataclasses import dataclass

# Two columns of a printed page are 7 wide; a panel below 1 shows no notes.
PAGE, SMALLEST_PANEL, PANEL_HEIGHT, EAR_HEIGHT = 7.0, 1.0, 0.85, 0.62
LEFT, RIGHT, TITLE_LINE, BOTTOM = 0.05, 0.6, 0.13, 0.32
GAP, SCALE_GAP, ROW_GAP, EXAMPLE_GAP, EAR_GAP = 0.06, 0.46, 0.2, 0.2, 0.03

# Left, bottom, width, height, as shares of the figure.
Place = tuple[float, float, float, float]


@dataclass(frozen=True)
class Grid:
    """A column of pictures, then columns of panels; a block of rows for each example.

    Attributes:
        num_columns: of panels.
        num_channels: panels below one another in each row.
        num_sources: rows of each example.
        num_title_lines: above the columns.
    """

    num_columns: int
    num_channels: int
    num_sources: Sequence[int]
    num_title_lines: int = 1

    @property
    def panel_width(self) -> float:
        """Of pictures and panels alike."""
        fixed = LEFT + SCALE_GAP + RIGHT + GAP * self.num_columns
        return max(SMALLEST_PANEL, (PAGE - fixed) / (self.num_columns + 1))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure."""
        width = LEFT + SCALE_GAP + RIGHT + GAP * self.num_columns
        width += self.panel_width * (self.num_columns + 1)
        return width, self._top(len(self.num_sources)) - EXAMPLE_GAP - ROW_GAP + BOTTOM

    def picture(self, example: int, source: int) -> Place:
        """The frame of a source."""
        return self._share(LEFT, self._row_top(example, source), self.panel_width, self._row)

    def panel(self, example: int, source: float, column: int, ear: int) -> Place:
        """A panel; half a source is a place between two rows."""
        left = LEFT + self.panel_width + SCALE_GAP + column * (self.panel_width + GAP)
        top = self._row_top(example, source) + ear * (self._ear + EAR_GAP)
        return self._share(left, top, self.panel_width, self._ear)

    def bar(self) -> Place:
        """The scale of colours, beside the first example."""
        height = self.num_sources[0] * (self._row + ROW_GAP) - ROW_GAP
        return self._share(self.size[0] - RIGHT + 0.08, self._top(0), 0.09, height)

    @property
    def _ear(self) -> float:
        return PANEL_HEIGHT if self.num_channels == 1 else EAR_HEIGHT

    @property
    def _row(self) -> float:
        return self.num_channels * (self._ear + EAR_GAP) - EAR_GAP

    def _row_top(self, example: int, source: float) -> float:
        return self._top(example) + source * (self._row + ROW_GAP)

    def _top(self, example: int) -> float:
        """Where an example begins, counted down from the upper edge."""
        rows = sum(self.num_sources[:example]) * (self._row + ROW_GAP)
        return 0.1 + TITLE_LINE * self.num_title_lines + rows + EXAMPLE_GAP * example

    def _share(self, left: float, top: float, width: float, height: float) -> Place:
        across, down = self.size
        return (left / across, 1 - (top + height) / down, width / across, height / down)
