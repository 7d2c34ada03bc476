"""What forge doctor looks at, one file a subject. Nothing here changes anything."""
