"""The mathematics that stages apply: realignment, registration, sampling, temporal operators, ICA."""
