"""Networks, pure torch: they come with the trainer; nothing here yet."""
