"""The documentation site: the project's documents, and a reference made of what the programs say of themselves."""
