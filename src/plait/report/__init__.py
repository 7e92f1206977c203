"""Reports: figures, tables and the page that shows them."""
