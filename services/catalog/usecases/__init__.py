"""What the catalogue does."""

from services.catalog.usecases.catalog import Catalog, Page

__all__ = ["Catalog", "Page"]
