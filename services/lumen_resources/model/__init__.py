"""What a model's folder is: its layout, its description, its lock and its traits."""
