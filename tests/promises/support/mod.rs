//! What the tests of the promises share: a model of a store, a history of commits, a random source,
//! settings.
//!
//! Nothing in here uses the library to compute what is expected; `read` alone looks into it.

pub(crate) mod driven;
pub(crate) mod history;
pub(crate) mod random;
pub(crate) mod read;
pub(crate) mod settings;
