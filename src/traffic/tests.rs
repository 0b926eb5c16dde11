//! What packets show, by bytes as they were sent, and what malformed ones do not.
