"""What a build starts from, as one record a source: files, folders, lists, URLs."""
