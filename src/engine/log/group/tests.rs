//! What is written is read again, and no bytes make the reader panic.

use super::*;
use proptest::prelude::*;

type Op = (TableId, Vec<u8>, Option<Vec<u8>>);

struct Commit {
    context: u32,
    ops: Vec<Op>,
}

impl LogCommit for Commit {
    fn context(&self) -> u32 {
        self.context
    }

    fn ops(&self) -> impl ExactSizeIterator<Item = LogOp<'_>> {
        self.ops.iter().map(|(table, key, value)| LogOp {
            table: *table,
            key,
            change: value.as_deref().map_or(Change::Delete, Change::Put),
        })
    }
}

fn encoded(contexts: &[&[u8]], commits: &[Commit]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let body = encoder.encode(5, contexts, commits).expect("within the limits");
    let bytes = body.parts(5).concat();
    assert_eq!(bytes.len(), body.len);
    assert_eq!(body.crc(3), crc32c::crc32c_append(3, &bytes));
    bytes
}

fn decoded(bytes: &[u8], contexts: u16, commits: u32) -> Result<Vec<(Lsn, u32, Op)>, Malformed> {
    let body = GroupBody::parse(bytes, contexts, commits, 40)?;
    let mut seen = Vec::new();
    body.for_each(|lsn, context, op| {
        let value = match op.change {
            Change::Put(value) => Some(value.to_vec()),
            Change::Delete => None,
        };
        seen.push((lsn, context, (op.table, op.key.to_vec(), value)));
        Ok::<(), Malformed>(())
    })?;
    Ok(seen)
}

fn op() -> impl Strategy<Value = Op> {
    let key = proptest::collection::vec(any::<u8>(), 0..40);
    let value = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..60),
        1 => (BIG_VALUE - 1..BIG_VALUE + 9).prop_map(|len| vec![7; len]),
    ];
    (0..4u32, key, proptest::option::of(value))
}

proptest! {
    #[test]
    fn commits_come_back_as_they_were(
        commits in proptest::collection::vec((0..3u32, proptest::collection::vec(op(), 0..6)), 1..5),
    ) {
        let commits: Vec<_> =
            commits.into_iter().map(|(context, ops)| Commit { context, ops }).collect();
        let bytes = encoded(&[], &commits);
        let expected: Vec<_> = commits
            .iter()
            .zip(40..)
            .flat_map(|(commit, lsn)| commit.ops.iter().map(move |op| (lsn, commit.context, op.clone())))
            .collect();
        prop_assert_eq!(decoded(&bytes, 0, commits.len() as u32), Ok(expected));
    }

    #[test]
    fn random_bodies_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        contexts in 0..3u16,
        commits in 0..4u32,
    ) {
        let _ = decoded(&bytes, contexts, commits);
    }

    #[test]
    fn bodies_with_a_changed_byte_never_panic(at in 0..64usize, to in any::<u8>()) {
        let commits = [Commit { context: 1, ops: vec![(1, vec![1; 9], Some(vec![2; 30]))] }];
        let context = Context { pairs: vec![("user".into(), "me".into())] };
        let mut bytes = encoded(&[&context.encode(1).expect("short")], &commits);
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = decoded(&bytes, 1, 1);
    }
}

#[test]
fn contexts_come_back_as_they_were() {
    let context =
        Context { pairs: vec![("process".into(), "till".into()), ("user".into(), "ann".into())] };
    let commits = [Commit { context: 6, ops: vec![] }];
    let bytes = encoded(&[&context.encode(6).expect("short")], &commits);
    let body = GroupBody::parse(&bytes, 1, 1, 1).expect("sound");
    assert_eq!(body.contexts(), Ok(vec![(6, context)]));
}

#[test]
fn what_is_too_long_is_refused() {
    let mut encoder = Encoder::default();
    let long_key = Commit { context: 0, ops: vec![(1, vec![0; 65_536], None)] };
    let refused = encoder.encode(0, &[], &[long_key]).err().expect("the key is too long");
    assert_eq!(refused.kind(), ErrorKind::Limit);
    let many = Context { pairs: vec![Default::default(); 65] };
    assert_eq!(many.encode(0).expect_err("too many").kind(), ErrorKind::Limit);
}
