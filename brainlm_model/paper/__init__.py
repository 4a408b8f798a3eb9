"""One page, and a model card, of every task of the paper: who wins, beside what was published."""
