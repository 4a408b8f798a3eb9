"""Age, sex or any other column, predicted by the model and by every baseline."""
