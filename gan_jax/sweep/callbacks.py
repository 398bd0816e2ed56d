"""Defines the events of a sweep in training, which a progress table or a pruner receives."""


class SweepCallback:
  """Receives the events of group trainers; the base class ignores all of them."""

  def on_updates(self, updates: float) -> None:
    """Receives the number of updates, of either player, that were made since the last call."""

  def on_other_updates(self, updates: float) -> None:
    """Receives the number of updates that were made by another process, or before this one began."""

  def on_evaluation(self, name: str, step: int, score: float) -> None:
    """Receives the score of the member called `name` at `step`; higher is better."""

  def on_early_end(self, name: str, status: str, step: int) -> None:
    """Receives the status, 'diverged' or 'dropped', of a member that ended before its last step."""
