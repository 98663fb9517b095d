"""What the default model is trained on, and how."""
