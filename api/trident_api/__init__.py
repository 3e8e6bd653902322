"""The FastAPI facade on port 8000: JSON in, Triton inference calls out. Knows only ``trident_client``."""
