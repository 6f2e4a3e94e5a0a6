"""What a build would take, before it is begun."""
