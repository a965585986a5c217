//! The promises that the library makes, each held by tests from outside, through the public API.
//!
//! A file stands for one promise. What is expected is computed by models and checkers of the tests'
//! own (`support`), which share no code with the library.

mod p1_backups_equal_one_commit;
mod p5_crash_at_every_call;
mod p5_kill;
mod p5_model;

mod support;
