"""Windows of the store for training and evaluation: dataset, cache, mixture of stores."""
