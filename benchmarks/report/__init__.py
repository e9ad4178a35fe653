"""From numbers to what people read: tables, charts, overlays, the page."""
