"""The paper's future states: the next steps of every parcel, forecast by the model and by baselines."""
