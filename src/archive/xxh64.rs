//! XXH64, the content checksum of a zstd frame, for the frames that are laid out by hand.
//!
//! zstd writes the low four bytes of the XXH64 (seed 0) of a frame's content at its end. The
//! compressor does so itself; [`frame`](super::frame) needs it for frames of raw blocks. Only the
//! hash of one whole slice is here, since a frame's content is always at hand as one.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// The XXH64 of `bytes` with seed 0.
pub(crate) fn xxh64(bytes: &[u8]) -> u64 {
    let (stripes, tail) = bytes.as_chunks::<32>();
    let mut hash = if stripes.is_empty() { P5 } else { merge_lanes(stripes) };
    hash = hash.wrapping_add(bytes.len() as u64);
    finish(hash, tail)
}

fn merge_lanes(stripes: &[[u8; 32]]) -> u64 {
    let (mut a, mut b, mut c, mut d) = (P1.wrapping_add(P2), P2, 0, 0u64.wrapping_sub(P1));
    for stripe in stripes {
        let (words, _) = stripe.as_chunks::<8>();
        a = round(a, u64::from_le_bytes(words[0]));
        b = round(b, u64::from_le_bytes(words[1]));
        c = round(c, u64::from_le_bytes(words[2]));
        d = round(d, u64::from_le_bytes(words[3]));
    }
    let sum = a.rotate_left(1).wrapping_add(b.rotate_left(7));
    let sum = sum.wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18));
    [a, b, c, d]
        .into_iter()
        .fold(sum, |hash, lane| (hash ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4))
}

fn finish(mut hash: u64, tail: &[u8]) -> u64 {
    let (words, rest) = tail.as_chunks::<8>();
    for word in words {
        hash ^= round(0, u64::from_le_bytes(*word));
        hash = hash.rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(P1);
        hash = hash.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
    }
    for byte in rest {
        hash ^= u64::from(*byte).wrapping_mul(P5);
        hash = hash.rotate_left(11).wrapping_mul(P1);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(P2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(P3);
    hash ^ (hash >> 32)
}

#[inline(always)]
fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

#[cfg(test)]
mod tests {
    use super::xxh64;

    #[test]
    fn the_published_values_come_out() {
        assert_eq!(xxh64(b""), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(b"a"), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(xxh64(b"abc"), 0x44BC_2CF5_AD77_0999);
    }
}
