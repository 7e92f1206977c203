"""Tables: read, typed, described by a schema, split, written; cells as encoders take them; targets; leaks."""
