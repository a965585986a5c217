//! The store behind the operations of the rivals' benchmark.

#[path = "../../rivals/src/peers/peer.rs"]
#[expect(dead_code, reason = "shared with the rivals, which need more of it")]
mod peer;
#[path = "../../rivals/src/peers/stillpoint.rs"]
mod stillpoint;

pub use peer::{Peer, load};
pub use stillpoint::Stillpoint;
