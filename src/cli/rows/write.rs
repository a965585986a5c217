//! Writing records as rows.

use std::io::Write;

use serde_json::Value;

use super::columns::Layout;
use super::{Format, csv};

/// What a file in UTF-8 may begin with. A reader drops the first one.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Writes records to `W` in one of the formats.
pub(crate) enum RowWriter<W: Write> {
    Csv(W, Layout),
    Jsonl(W, Layout),
}

impl<W: Write> RowWriter<W> {
    /// Begins the rows; CSV has its header from here on.
    ///
    /// # Errors
    /// What `out` reports.
    pub(crate) fn begin(
        mut out: W,
        format: Format,
        layout: Layout,
    ) -> std::io::Result<RowWriter<W>> {
        match format {
            Format::Jsonl => Ok(RowWriter::Jsonl(out, layout)),
            Format::Csv => {
                if layout.header().next().is_some_and(|name| name.starts_with(BYTE_ORDER_MARK)) {
                    out.write_all(BYTE_ORDER_MARK.as_bytes())?;
                }
                // A header of one name that is empty is a line all the same.
                csv::write_row(&mut out, layout.header(), &[0])?;
                Ok(RowWriter::Csv(out, layout))
            }
        }
    }

    /// Writes one record.
    ///
    /// # Errors
    /// What `out` reports.
    pub(crate) fn write(&mut self, key: &Value, value: Value) -> std::io::Result<()> {
        match self {
            RowWriter::Csv(out, layout) => {
                let cells = layout.cells(key, &value);
                csv::write_row(out, cells.iter().map(String::as_str), layout.keys())
            }
            RowWriter::Jsonl(out, layout) => {
                serde_json::to_writer(&mut *out, &layout.object(key, value))?;
                out.write_all(b"\n")
            }
        }
    }

    /// Ends the rows and gives the target back, everything written to it.
    ///
    /// # Errors
    /// What `out` reports.
    pub(crate) fn end(self) -> std::io::Result<W> {
        let (RowWriter::Csv(mut out, _) | RowWriter::Jsonl(mut out, _)) = self;
        out.flush().map(|()| out)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::super::{Columns, Row, read_from};
    use super::*;

    fn written(records: &[(Value, Value)], format: Format) -> Vec<u8> {
        let mut columns = Columns::default();
        records.iter().for_each(|(key, value)| columns.see(key, value));
        let layout = columns.layout(None).ok().unwrap();
        let mut writer = RowWriter::begin(Vec::new(), format, layout).unwrap();
        for (key, value) in records {
            writer.write(key, value.clone()).unwrap();
        }
        writer.end().unwrap()
    }

    fn read(text: Vec<u8>, format: Format) -> Vec<Row> {
        let rows = read_from(Box::new(Cursor::new(text)), Path::new("rows"), format);
        rows.ok().unwrap().map(|row| row.ok().unwrap()).collect()
    }

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let records = [(json!("a,b"), json!({"id": "a,b", "t": "say \"x\"\nnow", "n": 1}))];
        let text = String::from_utf8(written(&records, Format::Csv)).unwrap();
        assert_eq!(text, "id,t,n\n\"a,b\",\"say \"\"x\"\"\nnow\",1\n");
    }

    #[test]
    fn a_first_column_that_begins_with_a_byte_order_mark_keeps_its_name() {
        let records = [(json!("a"), json!({"\u{feff}x": "1", "id": "a"}))];
        let back = read(written(&records, Format::Csv), Format::Csv);
        assert_eq!(Value::Object(back[0].fields.clone()), records[0].1);
    }

    fn rows_of_text() -> impl Strategy<Value = Vec<Vec<String>>> {
        (1usize..5).prop_flat_map(|columns| {
            prop::collection::vec(prop::collection::vec(any::<String>(), columns), 1..20)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_as_csv_is_read_back_as_it_was(rows in rows_of_text()) {
            let mut records = Vec::new();
            for (at, row) in rows.iter().enumerate() {
                let mut fields = Map::from_iter([("id".to_owned(), json!(at.to_string()))]);
                fields.extend(row.iter().enumerate().map(|(at, c)| (format!("c{at}"), json!(c))));
                records.push((json!(at), Value::Object(fields)));
            }
            let back = read(written(&records, Format::Csv), Format::Csv);
            let back: Vec<Value> = back.into_iter().map(|row| Value::Object(row.fields)).collect();
            let sent: Vec<Value> = records.into_iter().map(|record| record.1).collect();
            prop_assert_eq!(back, sent);
        }

        #[test]
        fn json_lines_are_read_back_with_types_and_order(
            text in any::<String>(), number in any::<i64>(), float in -1e300..1e300,
        ) {
            let value = json!({"z": text, "id": number, "b": {"y": float, "a": [null, true]}});
            let records = [(json!(number), value.clone())];
            let back = read(written(&records, Format::Jsonl), Format::Jsonl);
            prop_assert_eq!(Value::Object(back[0].fields.clone()).to_string(), value.to_string());
        }
    }
}
