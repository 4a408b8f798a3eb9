"""Where a result comes from, and what became of a recording: from what the jobs noted, without running anything."""
