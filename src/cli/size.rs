//! Sizes as they are typed: bytes, or with K, M, G or T for powers of 1024.

/// A size in bytes.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.strip_suffix("ib").or(lower.strip_suffix('b')).unwrap_or(&lower);
    let (digits, unit) = match number.char_indices().last() {
        Some((at, 'k')) => (&number[..at], 1 << 10),
        Some((at, 'm')) => (&number[..at], 1 << 20),
        Some((at, 'g')) => (&number[..at], 1 << 30),
        Some((at, 't')) => (&number[..at], 1 << 40),
        // "i" stands only between a unit and the B.
        _ if lower.ends_with("ib") => ("", 1),
        _ => (number, 1u64),
    };
    let digits = digits.trim_end();
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let size = digits.parse::<u64>().ok().filter(|_| plain);
    size.and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "a size is a number of bytes, or one with K, M, G or T".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, size) in [
            ("65536", 65_536),
            ("64k", 65_536),
            ("512 B", 512),
            ("10 MB", 10 << 20),
            ("20MiB", 20 << 20),
            ("2G", 2 << 30),
            ("1T", 1 << 40),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(size), "{text}");
        }
        for bad in ["", "x", "M", "-1", "+1", "1.5M", "1 iB", "1KK", "1P", "99999999999G"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
