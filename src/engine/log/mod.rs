//! The log: what was committed, in order, in a chain of segments of a fixed size.
