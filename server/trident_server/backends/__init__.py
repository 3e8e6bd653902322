"""Python-based Triton backends; each folder here is linked into Triton's backend directory as it stands."""
