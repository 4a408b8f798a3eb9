"""What moves the CLS token, and what the model predicts elsewhere where one parcel is driven."""
