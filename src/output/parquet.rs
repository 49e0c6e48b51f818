//! A table of text as a Parquet file: columns whose every cell is a number become numbers.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

/// The bytes of a Parquet file with these columns; an empty cell is absent.
///
/// # Errors
/// What the writer says, in words.
pub fn parquet(header: &[String], rows: &[Vec<String>]) -> Result<Vec<u8>, String> {
    write(header, rows).map_err(|e| e.to_string())
}

fn write(header: &[String], rows: &[Vec<String>]) -> Result<Vec<u8>, ParquetError> {
    let cell = |row: &'_ [String], i: usize| row.get(i).filter(|c| !c.is_empty()).cloned();
    let numeric: Vec<bool> = (0..header.len())
        .map(|i| {
            let mut cells = rows.iter().filter_map(|r| cell(r, i)).peekable();
            cells.peek().is_some() && cells.all(|c| c.parse::<f64>().is_ok())
        })
        .collect();
    let fields = header.iter().zip(&numeric).map(|(name, &numeric)| {
        let physical = if numeric { Physical::DOUBLE } else { Physical::BYTE_ARRAY };
        let logical = (!numeric).then_some(LogicalType::String);
        let field = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        field.with_logical_type(logical).build().map(Arc::new)
    });
    let schema = Type::group_type_builder("simctl").with_fields(fields.collect::<Result<_, _>>()?).build()?;
    // The writer's own name would change with its version.
    let properties = WriterProperties::builder().set_created_by("simctl".to_owned()).build();
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for (i, &numeric) in numeric.iter().enumerate() {
        let cells: Vec<Option<String>> = rows.iter().map(|r| cell(r, i)).collect();
        let present: Vec<i16> = cells.iter().map(|c| i16::from(c.is_some())).collect();
        let Some(mut column) = group.next_column()? else { break };
        let texts = cells.into_iter().flatten();
        if numeric {
            let values: Vec<f64> = texts.filter_map(|t| t.parse().ok()).collect();
            column.typed::<DoubleType>().write_batch(&values, Some(&present), None)?;
        } else {
            let values: Vec<ByteArray> = texts.map(|t| ByteArray::from(t.into_bytes())).collect();
            column.typed::<ByteArrayType>().write_batch(&values, Some(&present), None)?;
        }
        column.close()?;
    }
    group.close()?;
    file.close()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::SerializedFileReader;
    use std::io::Write;

    #[test]
    fn numbers_are_numbers_and_gaps_are_absent() {
        let header = ["point", "address", "cost"].map(String::from);
        let rows = [["0", "a", "1.5"], ["1", "b", ""]].map(|r| r.map(String::from).to_vec());
        let bytes = parquet(&header, &rows).expect("written");
        assert_eq!(bytes, parquet(&header, &rows).expect("written again"));
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&bytes).expect("written");
        let reader = SerializedFileReader::new(file).expect("a Parquet file");
        let read: Vec<String> = reader.into_iter().map(|r| r.expect("a row").to_string()).collect();
        assert_eq!(read, ["{point: 0E0, address: \"a\", cost: 1.5}", "{point: 1.0, address: \"b\", cost: null}"]);
    }
}
