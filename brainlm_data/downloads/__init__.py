"""Public data sets: `brainlm-data fetch openneuro DS OUT`, `brainlm-data fetch abide OUT`."""
