//! Keys: order, identity, and what is refused.

use super::{AsKey, AsPrefix, Key, KeyType, after_prefix, decode, encode};
use crate::ErrorKind;
use proptest::prelude::*;
use std::cmp::Ordering;
use std::fmt::Debug;

/// Order, identity and text of two keys that are given back as themselves.
fn holds<K: Key<Owned = K> + Debug + PartialEq>(a: &K, b: &K, order: Ordering) {
    let (x, y) = (encode::<K>(a), encode::<K>(b));
    assert_eq!(x.cmp(&y), order, "{a:?} against {b:?}: {x:?} {y:?}");
    for (key, bytes) in [(a, &x), (b, &y)] {
        assert_eq!(&decode::<K>(bytes).unwrap(), key);
        let kind = K::key_type();
        let json = kind.decode_json(bytes).unwrap();
        assert_eq!(**bytes, *kind.encode_json(&json).unwrap(), "{kind} through {json}");
        let text = kind.decode_text(bytes).unwrap();
        assert_eq!(**bytes, *kind.encode_text(&text).unwrap(), "{kind} through {text}");
    }
}

fn ordered<K: Key<Owned = K> + Debug + Ord>(a: K, b: K) {
    holds(&a, &b, a.cmp(&b));
}

/// Text rich in what the escaping must get right.
fn tricky() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        prop_oneof![Just(0u8), Just(1), Just(0xfe), Just(0xff), any::<u8>()],
        0..80,
    )
}

fn tricky_text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof![Just('\0'), Just('\u{1}'), any::<char>()], 0..12)
        .prop_map(String::from_iter)
}

fn longest() -> impl Strategy<Value = (u8, Option<String>, u8, bool, Vec<u8>, i8)> {
    let text = proptest::option::of(tricky_text());
    (any::<u8>(), text, 0..3u8, any::<bool>(), tricky(), any::<i8>())
}

proptest! {
    #[test]
    fn numbers_sort_as_their_bytes(a: [i128; 2], b: [i64; 2], c: [u64; 2], d: [u128; 2], e: [i8; 2],
                                   f: [i16; 2], g: [u16; 2], h: [u32; 2], i: [i32; 2], j: [u8; 2]) {
        ordered(a[0], a[1]); ordered(b[0], b[1]); ordered(c[0], c[1]); ordered(d[0], d[1]);
        ordered(e[0], e[1]); ordered(f[0], f[1]); ordered(g[0], g[1]); ordered(h[0], h[1]);
        ordered(i[0], i[1]); ordered(j[0], j[1]);
    }

    #[test]
    fn floats_sort_by_the_total_order(a in any::<u64>(), b in any::<u64>(), c: u32, d: u32) {
        let (a, b) = (f64::from_bits(a), f64::from_bits(b));
        let (x, y) = (encode::<f64>(&a), encode::<f64>(&b));
        prop_assert_eq!(x.cmp(&y), a.total_cmp(&b));
        prop_assert_eq!(decode::<f64>(&x).unwrap().to_bits(), a.to_bits());
        let (c, d) = (f32::from_bits(c), f32::from_bits(d));
        let (x, y) = (encode::<f32>(&c), encode::<f32>(&d));
        prop_assert_eq!(x.cmp(&y), c.total_cmp(&d));
        prop_assert_eq!(decode::<f32>(&x).unwrap().to_bits(), c.to_bits());
        if !a.is_nan() && !b.is_nan() {
            holds(&a, &b, a.total_cmp(&b));
        }
    }

    #[test]
    fn text_and_bytes_sort_as_their_bytes(
        a in tricky_text(), b in tricky_text(), c in tricky(), d in tricky(), e: [char; 2],
        f: [bool; 2]
    ) {
        ordered(a, b); ordered(c, d); ordered(e[0], e[1]); ordered(f[0], f[1]);
    }

    #[test]
    fn tuples_sort_part_by_part(a in (tricky_text(), any::<i16>(), tricky()),
                                b in (tricky_text(), any::<i16>(), tricky()),
                                c in (any::<bool>(), (tricky_text(), tricky_text())),
                                d in (any::<bool>(), (tricky_text(), tricky_text()))) {
        ordered(a, b); ordered(c, d);
    }

    #[test]
    fn the_longest_tuple_and_options_sort(
        a in longest(), b in longest()
    ) {
        ordered(a, b);
    }

    #[test]
    fn a_prefix_takes_in_what_begins_with_it_and_nothing_else(
        parts in prop::collection::vec((tricky_text(), any::<u8>()), 2..20),
        at in any::<prop::sample::Index>()
    ) {
        let first = parts[at.index(parts.len())].0.clone();
        let mut low = crate::KeyBuf::new();
        AsPrefix::<(String, u8)>::encode_prefix(&(first.as_str(),), &mut low);
        let high = after_prefix(&low);
        for part in &parts {
            let key = encode::<(String, u8)>(part);
            let inside = *key >= *low && high.as_ref().is_none_or(|high| *key < **high);
            prop_assert_eq!(inside, part.0 == first);
        }
    }

    #[test]
    fn bytes_that_are_no_key_are_refused_and_never_panic(bytes in tricky()) {
        let kind = "(str, option<(u8, bytes)>, bool, char, [u8; 3])".parse::<KeyType>().unwrap();
        if let Ok(json) = kind.decode_json(&bytes) {
            prop_assert_eq!(&*kind.encode_json(&json).unwrap(), &*bytes);
        }
        if let Err(error) = decode::<(bool, String, Option<char>)>(&bytes) {
            prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}

#[test]
fn extremes_of_the_floats_are_in_order() {
    let row = [
        -f64::NAN,
        f64::NEG_INFINITY,
        f64::MIN,
        -1.0,
        -0.0,
        0.0,
        f64::MIN_POSITIVE,
        1.0,
        f64::MAX,
        f64::INFINITY,
        f64::NAN,
    ];
    let keys: Vec<_> = row.iter().map(|float| encode::<f64>(float).to_vec()).collect();
    assert!(keys.is_sorted_by(|a, b| a < b));
}

/// Compiles only as long as each of these may stand for a key.
#[test]
fn borrowed_forms_stand_for_keys() {
    fn same<K: Key + ?Sized>(a: impl AsKey<K>, b: impl AsKey<K>) {
        assert_eq!(*encode::<K>(&a), *encode::<K>(&b));
    }
    same::<String>("a", String::from("a"));
    same::<str>("a", &"a");
    same::<u64>(42, &42);
    same::<[u8]>(b"ab", &b"ab"[..]);
    same::<crate::Bytes>(b"ab", vec![b'a', b'b']);
    same::<(String, u64)>(("a", 1), (String::from("a"), 1));
    same::<(String, Option<i32>)>(("a", Some(1)), ("a", Some(1)));
}

#[test]
fn long_keys_leave_the_stack_whole() {
    for len in [0, 1, 55, 56, 57, 112, 1000] {
        let text: String = ('a'..='z').cycle().take(len).collect();
        assert_eq!(decode::<String>(&encode::<String>(&text)).unwrap(), text);
        let pair = (text.clone(), text);
        assert_eq!(decode::<(String, String)>(&encode::<(String, String)>(&pair)).unwrap(), pair);
    }
}

#[test]
fn kinds_are_written_and_parsed_alike() {
    for text in [
        "u8",
        "i128",
        "f64",
        "str",
        "bytes",
        "[u8; 16]",
        "option<(str, u64)>",
        "((str, bool), option<char>)",
    ] {
        let kind: KeyType = text.parse().unwrap();
        assert_eq!(kind.to_string(), text);
        assert_eq!(KeyType::from_encoding(&kind.encoding()).unwrap(), kind);
    }
    for text in ["", "u7", "(u8)", "(u8,u8", "[u8;]", "option<>", "u8 x", "(u8,u8,u8,u8,u8,u8,u8)"]
    {
        assert_eq!(text.parse::<KeyType>().unwrap_err().kind(), ErrorKind::Invalid, "{text}");
    }
    assert!("option<".repeat(1000).parse::<KeyType>().is_err());
    assert_eq!(KeyType::from_encoding("u64@2").unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(KeyType::from_encoding("u64").unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn typed_text_that_is_no_key_is_refused() {
    for (kind, text) in [
        ("u8", "256"),
        ("i8", "x"),
        ("bool", "1"),
        ("bytes", "0xabc"),
        ("bytes", "zz"),
        ("[u8; 2]", "ab"),
        ("(str, u8)", "[\"a\"]"),
        ("(str, u8)", "a, 1"),
        ("option<u8>", "\"\""),
    ] {
        let kind: KeyType = kind.parse().unwrap();
        assert_eq!(kind.encode_text(text).unwrap_err().kind(), ErrorKind::Invalid, "{kind} {text}");
    }
    assert_eq!(
        *"(str, u8)".parse::<KeyType>().unwrap().encode_text("[\"a\", 7]").unwrap(),
        *encode::<(String, u8)>(&("a", 7))
    );
}
