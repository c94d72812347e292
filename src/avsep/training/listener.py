"""Who is told how a training goes: the command line shows it, a test writes it down."""


class Listener:
    """Hears of everything and does nothing; a base for those that do."""

    def began(self, first_step: int, num_steps: int) -> None:
        """Training begins, or goes on, after `first_step` of `num_steps`."""

    def advanced(self, step: int) -> None:
        """A step is done."""

    def logged(self, step: int, figures: dict[str, float]) -> None:
        """Losses, rates and speed since the last time."""

    def validated(self, step: int, figures: dict[str, float], is_best: bool) -> None:
        """A validation is done."""
