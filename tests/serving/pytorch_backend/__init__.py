"""Small TorchScript models, their configurations and a client, to hold the ``pytorch`` backend to its contract."""
