"""Training, evaluation and export of the models that ``model_repository/`` serves."""
