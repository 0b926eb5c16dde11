//! What of the outside a failure shows.
