//! What goes on by itself around a store: settings, schedule, failure policy, journal, history,
//! retention, health.
//!
//! It stands above backup and restore and uses them as an application would; nothing below knows it.
