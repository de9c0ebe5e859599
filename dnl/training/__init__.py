"""Training a network: recipes, losses, batches, the run and its folder."""
