"""Statistics of all evaluation tasks: metrics, intervals over subjects, paired tests. Arrays in, numbers out."""
