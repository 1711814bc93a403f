"""Programs that write SavedModels of trained models, ask them, and watch them."""
