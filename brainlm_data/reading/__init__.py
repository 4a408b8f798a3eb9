"""Files of any kind into checked content: images, tables, JSON, parcel series."""
