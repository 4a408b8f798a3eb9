"""Stage `state`: which condition of a task was it, told from the series around an event."""
