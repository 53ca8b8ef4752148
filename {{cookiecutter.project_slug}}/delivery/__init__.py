"""How the project is delivered, apart from what it predicts."""
