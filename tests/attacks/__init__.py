"""Attacks: damaged files, hostile names, flipped bits, kills. docs/reliability.md says what each of them shows."""
