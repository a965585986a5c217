//! Who this process is, as far as the system says: for the log and for whoever asks who has a store.

/// Names and values: process, user, host. What the system does not say is empty.
pub(crate) fn this_process() -> [(&'static str, String); 3] {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    [("process", std::process::id().to_string()), ("user", user), ("host", host)]
}
