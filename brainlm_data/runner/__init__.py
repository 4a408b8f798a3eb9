"""What runs a stage: on one unit, on a bundle, with manifests, receipts and digests."""
