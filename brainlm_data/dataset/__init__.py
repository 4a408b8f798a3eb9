"""The dataset that training reads: store, scaler, splits and card."""
